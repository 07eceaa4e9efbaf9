"""The disk in memory answers as LMDB does, and forgets what was not committed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defence.errors import Stopped, StoreFull
from storage.environment import Environment
from tests.simulation.disk import Disk

KEYS = st.binary(min_size=1, max_size=3)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("put", "delete", "fail", "read")), KEYS, st.integers(0, 9), st.booleans()
    ),
    max_size=30,
)


class Failed(Exception):  # noqa: N818 - it is what happened
    """Undoes a transaction."""


def _seen(environment: Any, prefix: bytes) -> list[object]:
    with environment.read() as view:
        return [
            list(view.items("t")),
            list(view.items("t", prefix=prefix)),
            list(view.items("t", prefix=prefix, newest_first=True)),
            list(view.walk("t", low=prefix, newest_first=True)),
            view.newest_key("t", prefix),
            view.count("t"),
            view.has("t", prefix),
            view.get("t", prefix),
        ]


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_it_is_like_lmdb(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("lmdb")
    real: Any = Environment.open(folder, name="x", databases=("t",))
    memory: Any = Disk().environment("x")
    try:
        for what, key, value, twice in steps:
            for one in (real, memory):

                def work(change: Any, what: str = what, key: bytes = key, n: int = value) -> object:
                    if what == "delete":
                        return change.delete("t", key)
                    if what != "read":
                        change.put("t", key, {"n": n})
                        change.put("t", key + b"x", {"n": n})
                    if what == "fail":
                        raise Failed
                    return change.get("t", key)

                try:
                    one.run(work)
                    if twice:
                        one.run(work)
                except Failed:
                    pass
            assert _seen(real, key) == _seen(memory, key)
            assert real.sequence == memory.sequence
    finally:
        real.close()


def test_a_full_disk_takes_nothing_and_what_was_there_stays() -> None:
    disk = Disk()
    environment: Any = disk.environment("x")
    environment.run(lambda change: change.put("t", b"a", {"n": 1}))
    disk.full_until = 1.0
    with pytest.raises(StoreFull):
        environment.run(lambda change: change.put("t", b"a", {"n": 2}))
    assert environment.lacks_room(1) is not None
    with environment.read() as view:
        assert view.get("t", b"a") == {"n": 1}


def test_it_outlives_who_opened_it() -> None:
    disk = Disk()
    first: Any = disk.environment("x")
    first.run(lambda change: change.put("t", b"a", {"n": 1}))
    first.close()
    with pytest.raises(Stopped):
        first.run(lambda change: change.put("t", b"a", {"n": 2}))
    second: Any = disk.environment("x")
    with second.read() as view:
        assert view.get("t", b"a") == {"n": 1}


def test_a_death_before_the_commit_leaves_nothing_and_after_it_everything() -> None:
    disk = Disk()
    environment: Any = disk.environment("x")

    def die(when: str) -> None:
        def struck(_store: str, now: str) -> None:
            if now == when:
                raise KeyboardInterrupt(when)

        disk.struck = struck
        with pytest.raises(KeyboardInterrupt):
            environment.run(lambda change: change.put("t", when.encode(), {}))

    die("before")
    die("after")
    with environment.read() as view:
        assert not view.has("t", b"before")
        assert view.has("t", b"after")


def test_the_folder_is_not_touched(tmp_path: Path) -> None:
    assert not Path("/memory").exists()
    assert not list(tmp_path.iterdir())
