"""The cases of Pekko's `SupervisionSpec` (typed actors) that apply, in our own words.

Each docstring names the spec and the case and says the rule; docs/supervision.md,
Cases, has the table of all of them, and why the others do not apply.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cases_kit import HOUR, crash, delays, ping
from pykka import Future
from runtime_kit import (
    AT_ONCE,
    Call,
    House,
    Note,
    Sting,
    Worker,
    child,
    die_once,
    pass_time,
    raising,
    refused,
)

from actors.events import Kind
from actors.life import ResetBudget, Stop
from actors.mailbox import Lane
from defence.errors import MailboxFull
from supervisors.slot import ChildState
from supervisors.spec import Backoff, Escalation, Restart

Build = Callable[..., House]


# -- SupervisionSpec, of the typed actors


def test_a_supervised_actor_answers(build: Build) -> None:
    """Pekko SupervisionSpec "receive message": supervision is not in the way."""
    spec, script = child("one")
    house = build(spec).open()
    assert house.ask("one", Note("hello")) == 1
    assert script.book == ["hello"]


@pytest.mark.parametrize("fatal", [MemoryError, RecursionError, SystemExit, KeyboardInterrupt])
def test_a_fatal_error_ends_one_child_and_nothing_else(
    build: Build, fatal: type[BaseException]
) -> None:
    """Pekko SupervisionSpec "not catch fatal error": a fatal one is not supervised there.

    Here it is an end like any other: one report, one charge. The host's
    process must not die of a child (TRAPS 1), nor a child live on as a zombie.
    """
    one, _ = child("one")
    two, _ = child("two")
    house = build(one, two).open()
    house.address("one").tell(Call(die_once(fatal())))
    house.ready("one", 2)
    assert house.exits("one") == ["crashed"]
    assert ping(house, "two") == 1


def test_state_is_gone_with_the_incarnation(build: Build) -> None:
    """Pekko SupervisionSpec "restart when handled exception": a restarted actor begins anew.

    Also ActorLifeCycleSpec "clear the behavior stack upon restart".
    """
    spec, _ = child("one")
    house = build(spec).open()

    def count(worker: Worker) -> int:
        worker.count = getattr(worker, "count", 0) + 1  # type: ignore[attr-defined]
        return int(worker.count)  # type: ignore[attr-defined]

    assert [house.ask("one", Call(count)) for _ in range(3)] == [1, 2, 3]
    crash(house)
    assert house.ask("one", Call(count)) == 1


def test_a_limit_of_nothing_stops_at_the_first_exception(simulate: Build) -> None:
    """Pekko SupervisionSpec "stop at first exception when restart retries limit is 0"."""
    spec, script = child("one", max_restarts=0)
    house = simulate(spec).open()
    crash(house)
    pass_time(house, 2 * HOUR)  # not even `retry` has anything to wait for
    assert len(script.made) == 1
    assert house.of(Kind.ESCALATED)[0].facts["retry_in"] is None
    house.ask_root(ResetBudget("one"))
    house.ready("one", 2)


@pytest.mark.parametrize("late", [0.0, 1 / 64])
def test_the_limit_is_reset_after_its_time_and_not_before(simulate: Build, late: float) -> None:
    """Pekko SupervisionSpec "reset fixed limit after timeout", "stop when restart limit is hit".

    Also "reset retry limit after withinTimeRange", "stop after restart
    retries limit". Pekko's window begins anew, and then grants twice the
    limit around its boundary; here each charge leaves for itself.
    """
    spec, _ = child("one", max_restarts=2, period=8.0, escalation=Escalation.STAY_DOWN)
    house = simulate(spec).open()
    crash(house)  # at 0
    pass_time(house, 7.0)
    crash(house)  # at 7
    pass_time(house, 1.0 - (1 / 64 - late))
    crash(house)  # at 8, or just before
    if late:
        assert ping(house) == 4
        crash(house)  # 7 and 8 are still in the window
    assert house.slot("one").state is ChildState.ESCALATED


def test_what_finds_no_room_during_a_backoff_is_refused_and_the_rest_kept(simulate: Build) -> None:
    """Pekko SupervisionSpec "publish dropped messages while backing off and stash is full".

    Pekko drops and publishes; here whoever sends is told at once, and can act on it.
    """
    spec, script = child(
        "one", data_limit=2, max_restarts=5, backoff=Backoff(first=5.0, jitter=0.0)
    )
    house = simulate(spec).open()
    crash(house)
    assert ping(house) == 2
    house.kill("one")
    pass_time(house, 1.0)
    assert house.slot("one").state is ChildState.BACKOFF
    for text in ("1", "2"):
        house.address("one").tell(Note(text))
    for text in ("3", "4"):
        error = refused(lambda: house.address("one").tell(Note(text)))  # noqa: B023 - used at once
        assert isinstance(error, MailboxFull)
    pass_time(house, 10.0)
    assert script.book == ["ping", "1", "2"]
    counts = house.slot("one").mailbox.counts()
    assert (counts.refused, counts.balanced) == (2, True)


@pytest.mark.parametrize("backoff", [AT_ONCE, Backoff(first=0.01, jitter=0.0)])
def test_what_waits_outlives_starts_that_fail(build: Build, backoff: Backoff) -> None:
    """Pekko SupervisionSpec "ensure stash message retention on start exception when
    restart/backoff".
    """
    spec, script = child("one", max_restarts=5, backoff=backoff)
    house = build(spec).open()
    failures = [RuntimeError("1"), RuntimeError("2")]

    def start(_: Worker) -> None:
        if failures:
            raise failures.pop()

    script.on_start = start
    futures: list[Future[object]] = []

    def send_and_die(worker: Worker) -> None:
        for text in ("1", "2"):
            house.post.send("one", Note(text), lane=Lane.DATA)
        raise RuntimeError("now")

    left = [send_and_die]
    futures.append(
        house.later("one", Call(lambda worker: left.pop()(worker) if left else "survived"))
    )
    assert house.wait(futures[0]) == "survived"
    house.until(lambda: len(script.book) == 2)
    assert script.book == ["1", "2"]
    assert house.exits("one") == ["crashed", "failed to start", "failed to start"]


def test_what_waits_outlives_a_second_crash(build: Build) -> None:
    """Pekko SupervisionSpec "ensure unhandled message retention during unstash exception ..."."""
    spec, script = child("one", max_restarts=5)
    script.stings = {"a": 1, "b": 1}
    house = build(spec).open()
    address = house.address("one")
    for message in (Sting("a"), Sting("b"), Note("1"), Note("2")):
        address.tell(message)
    house.until(lambda: len(script.book) == 2)
    assert script.book == ["1", "2"]
    assert house.exits("one") == ["crashed", "crashed"]


def test_the_backoff_grows_to_its_limit(simulate: Build) -> None:
    """Pekko SupervisionSpec "restart after exponential backoff"; BackoffOnRestart "...
    exponential".

    Ours begins with a restart at once: one crash alone is no reason to wait.
    """
    spec, _ = child("one", max_restarts=9, backoff=Backoff(first=1.0, limit=10.0, jitter=0.0))
    house = simulate(spec).open()
    assert delays(house, 7) == [0.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize("gap", [99.0, 100.0])
def test_the_backoff_begins_anew_after_a_quiet_time(simulate: Build, gap: float) -> None:
    """Pekko SupervisionSpec "reset exponential backoff count after reset timeout".

    The budget is not reset by it: a child that lives just long enough is not restarted for ever.
    """
    backoff = Backoff(first=1.0, jitter=0.0, reset_after=100.0)
    spec, _ = child("one", max_restarts=4, backoff=backoff)
    house = simulate(spec).open()
    assert delays(house, 3) == [0.0, 1.0, 2.0]
    pass_time(house, gap)  # counted from the newest restart
    assert delays(house, 1) == [0.0 if gap >= 100.0 else 4.0]
    house.kill("one")
    pass_time(house, 1.0)
    assert house.slot("one").state is ChildState.ESCALATED


def test_with_a_backoff_too_the_maximum_is_the_maximum(simulate: Build) -> None:
    """Pekko SupervisionSpec "fail if reaching maximum number of restarts with backoff"."""
    spec, script = child("one", max_restarts=2, backoff=Backoff(first=0.25), escalation="stay_down")
    house = simulate(spec).open()
    script.on_start = raising(RuntimeError("failure to restart"))
    house.kill("one")
    pass_time(house, 60.0)
    assert house.exits("one") == ["killed", "failed to start", "failed to start"]
    assert house.slot("one").state is ChildState.ESCALATED


def test_a_child_is_made_at_once_and_not_with_its_first_message(build: Build) -> None:
    """Pekko SupervisionSpec "create underlying deferred behavior immediately"."""
    started: list[int] = []
    spec, script = child("one")
    script.on_start = lambda worker: started.append(worker.context.incarnation)
    house = build(spec).open()
    assert started == [1]
    assert house.slot("one").mailbox.counts().accepted == 0


@pytest.mark.parametrize("backoff", [AT_ONCE, Backoff()])
def test_a_first_start_that_fails_is_not_tried_again(build: Build, backoff: Backoff) -> None:
    """Pekko SupervisionSpec "fail instead of restart when deferred factory throws", and its like.

    Pekko's strategies with a limit, or a backoff, do try again; a first start
    here never does: nobody is told "ready" who is not.
    """
    spec, script = child("one", backoff=backoff)
    script.on_start = raising(RuntimeError("construction failed"))
    house = build(spec).begin()
    house.until(lambda: house.owner.stopped)
    assert len(script.made) == 1
    assert not house.of(Kind.CHARGED)


def test_a_child_that_stops_after_its_restart_has_stopped(build: Build) -> None:
    """Pekko SupervisionSpec "that is stopped after restart should be stopped": for any strategy.

    Also "that is initially stopped", "that is stopped after setup": for a
    transient child a clean end is an end, however soon it comes.
    """
    spec, script = child("one", restart=Restart.TRANSIENT)
    house = build(spec).open()
    script.on_start = lambda worker: worker.context.post.send("one", Stop(), lane=Lane.CONTROL)
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    assert house.exits("one") == ["killed", "stopped"]
    assert len(script.made) == 2


def test_an_error_in_an_answer_is_supervised_like_one_in_a_message(build: Build) -> None:
    """Pekko SupervisionSpec "apply supervision to adapter function": wherever its code runs."""
    one, script = child("one")
    two, _ = child("two")
    house = build(one, two).open()
    house.ask("one", Call(lambda worker: worker.request("two", Note("question"))))
    house.until(lambda: len(script.answers) == 1)
    script.answers = Refusing()  # type: ignore[assignment]
    house.ask("one", Call(lambda worker: worker.request("two", Note("question"))))
    house.ready("one", 2)
    assert house.exits("one") == ["crashed"]
    assert ping(house) == 2


class Refusing(list[object]):
    """Where an answer cannot be put."""

    def append(self, _: object) -> None:
        raise RuntimeError("thrown in adapter")
