"""Fencing: after `revoke` returned True no effect ever happens."""

from __future__ import annotations

import threading
import time

import pytest

from defence.errors import BrokerUnknown, Fenced, Invalid
from terminals.lease import Lease, Permit


def test_hold_is_refused_after_revocation() -> None:
    lease = Lease("monitor", 3)
    with lease.hold():
        pass
    assert not lease.revoked
    assert lease.revoke(0)
    assert lease.revoked
    with pytest.raises(Fenced, match="monitor, incarnation 3"), lease.hold():
        pytest.fail("a revoked lease was held")


def test_revocation_cannot_complete_while_someone_is_inside() -> None:
    lease = Lease("connector", 1)
    with lease.hold():
        assert not lease.revoke(0)
        with pytest.raises(Fenced), lease.hold():  # new ones are refused at once
            pytest.fail("a revoked lease was held")
        assert not lease.revoke(0.01)
    assert lease.revoke(0)


def test_revocation_wakes_when_the_last_holder_leaves() -> None:
    lease = Lease("connector", 1)
    inside, go = threading.Event(), threading.Event()

    def holder() -> None:
        with lease.hold(), lease.hold():  # twice by one thread: counted, no deadlock
            inside.set()
            assert go.wait(5)

    thread = threading.Thread(target=holder)
    thread.start()
    assert inside.wait(5)
    threading.Timer(0.02, go.set).start()
    began = time.monotonic()
    assert lease.revoke(5)
    assert time.monotonic() - began < 4  # woken, not timed out
    thread.join(5)


def test_a_hold_that_raises_is_left() -> None:
    lease = Lease("connector", 1)
    with pytest.raises(KeyboardInterrupt), lease.hold():
        raise KeyboardInterrupt
    assert lease.revoke(0)


@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
def test_a_bad_timeout_is_an_error_but_revokes(timeout: float) -> None:
    lease = Lease("connector", 1)
    with pytest.raises(Invalid, match="timeout"):
        lease.revoke(timeout)
    assert lease.revoked


def test_endless_timeout_is_accepted() -> None:
    assert Lease("connector", 1).revoke(float("inf"))


def test_permit_holds_all_leases_together() -> None:
    connector, monitor = Lease("connector", 1), Lease("monitor", 2)
    permit = Permit(connector, monitor)
    for _ in range(2):  # re-usable
        with permit:
            pass
    with permit:
        with permit:  # and re-entrant
            pass
        assert not monitor.revoke(0)
        assert not connector.revoke(0)
    assert monitor.revoke(0)
    assert connector.revoke(0)


@pytest.mark.parametrize("revoked", [0, 1])
def test_permit_with_one_revoked_lease_holds_none(revoked: int) -> None:
    leases = [Lease("connector", 1), Lease("monitor", 2)]
    leases[revoked].revoke(0)
    with pytest.raises(Fenced), Permit(*leases):
        pytest.fail("a revoked permit was entered")
    assert all(lease.revoke(0) for lease in leases)


@pytest.mark.parametrize("error", [BrokerUnknown("other account"), KeyboardInterrupt()])
def test_a_check_that_raises_leaves_nothing_held(error: BaseException) -> None:
    lease = Lease("connector", 1)

    def check() -> None:
        raise error

    with pytest.raises(type(error)), Permit(lease, check=check):
        pytest.fail("entered in spite of the check")
    assert lease.revoke(0)


def test_checks_run_inside_and_in_order() -> None:
    lease = Lease("connector", 1)
    ran: list[str] = []

    def first() -> None:
        ran.append("first")

    def second() -> None:
        ran.append("second")

    plain = Permit(lease, check=first)
    with plain.also(second):
        ran.append("effect")
    with plain:  # `also` left the original as it was
        ran.append("effect")
    assert ran == ["first", "second", "effect", "first", "effect"]


def test_a_lease_revoked_during_a_check_stops_the_effect() -> None:
    # A check that hangs in the terminal and is released after its holder was
    # given up must not go on to the order.
    lease = Lease("connector", 1)

    def check() -> None:
        assert not lease.revoke(0)  # someone is inside: we are

    with pytest.raises(Fenced), Permit(lease, check=check):
        pytest.fail("the effect began after the revocation")
    assert lease.revoke(0)


def test_no_effect_after_revocation_in_many_threads() -> None:
    for round_ in range(30):
        connector, monitor = Lease("connector", round_), Lease("monitor", round_)
        effects: list[int] = []
        permits = [Permit(connector, monitor), Permit(monitor, connector)]  # either order
        start = threading.Barrier(5)

        def act(
            permit: Permit,
            start: threading.Barrier = start,
            effects: list[int] = effects,
        ) -> None:
            start.wait(5)
            try:
                while True:
                    with permit:
                        time.sleep(0)  # let others in between check and effect
                        effects.append(1)
            except Fenced:
                return

        threads = [threading.Thread(target=act, args=(permits[n % 2],)) for n in range(4)]
        for thread in threads:
            thread.start()
        start.wait(5)
        time.sleep(0.0005 * (round_ % 4))
        assert (monitor if round_ % 2 else connector).revoke(5)
        done = len(effects)
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()
        assert len(effects) == done
        assert connector.revoke(0)
        assert monitor.revoke(0)
