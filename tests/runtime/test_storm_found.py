"""What the storm on real threads found, each as one small case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from runtime_kit import Call, House, Note, Worker, child, pass_time, refused

from actors.actor import Promised, keep_promise
from actors.mailbox import Lane
from actors.threads import ThreadRuntime
from defence.errors import DeadlinePassed
from supervisors.spec import Backoff
from terminals.requests import comment_for

Build = Callable[..., House]


@pytest.mark.parametrize("begun", [True, False])
def test_a_late_letter_says_that_it_was_not_done_only_when_that_is_sure(
    simulate: Build, begun: bool
) -> None:
    spec, script = child("one", backoff=Backoff(first=5.0))
    house = simulate(spec).open()
    house.kill("one")  # the next restart waits for its backoff
    house.ready("one", 2)

    def do_and_die(worker: Worker) -> None:
        worker.script.book.append("done")
        raise RuntimeError("after the effect")

    if not begun:
        house.kill("one")
        house.until(lambda: len(house.exits("one")) == 2)
    future = house.later("one", Call(do_and_die) if begun else Note("done"), timeout=1.0)
    pass_time(house, 20.0)
    error = refused(lambda: house.wait(future))
    assert isinstance(error, DeadlinePassed)
    assert script.book == ["done"] * begun
    assert ("it was not done" in str(error)) is not begun
    assert ("it may be done" in str(error)) is begun


def test_orders_of_one_run_are_told_apart_by_what_a_broker_keeps_of_their_comment() -> None:
    one, two = ThreadRuntime(), ThreadRuntime()
    ids = [(one if nth % 2 else two).new_id() for nth in range(2000)]
    assert len(set(ids)) == len({comment_for(each) for each in ids}) == 2000
    mine = ids[::2]
    assert len({each[:8] for each in mine}) == 1000  # `defence.doubt` looks at no more


@pytest.mark.parametrize("way", ["promised", "standing order"])
def test_an_asker_is_answered_though_its_successor_settles_while_the_fenced_one_is_at_it(
    simulate: Build, way: str
) -> None:
    """The fenced one must not take the asker away, not even for a moment."""
    one, _ = child("one")
    two, _ = child("two")
    house = simulate(one, two).open()
    slot = house.slot("one")
    box = slot.mailbox
    left = ["meanwhile"]

    def give(worker: Worker) -> object:
        if way == "promised":
            number = worker.context.incarnation
            return Promised(lambda reply_to: keep_promise(reply_to, number))
        forwarded = worker.forward("two", Note("standing"), lane=Lane.CONTROL)
        return type(forwarded)(forwarded.to, forwarded.message, forwarded.lane, sticky=True)

    def meanwhile(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if left:
                left.clear()
                house.actor.ends.fence(slot, "hung")
                assert slot.incarnation is not None
                assert [slot.incarnation.step().value for _ in "12"] == ["worked", "worked"]
            return real(*arguments, **named)

        return call

    future = house.later("one", Call(give))
    box.settle = meanwhile(box.settle)  # type: ignore[method-assign]
    box.hand_over = meanwhile(box.hand_over)  # type: ignore[method-assign]
    assert house.wait(future) == (2 if way == "promised" else 1)
    assert box.counts().balanced
    house.stale_reports_expected = True
