"""Record a run, cut its power at many moments, and judge what is left."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from power_disk import Disk, Keep
from power_oracle import Story, read_story

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BATCH = 25  # images a child looks at; so many are on the disk at a time
WORKERS = 2


@dataclass(frozen=True)
class Recording:
    """One recorded run."""

    folder: Path  # as it was left
    log: Path
    story: Story
    facts: dict[str, Any]


@dataclass(frozen=True)
class Image:
    """What a power cut may leave: before event `cut`, or in the middle of it."""

    path: Path
    cut: int
    during: bool
    keep: Keep


@dataclass
class Tally:
    """What became of the images."""

    images: int = 0
    lost: list[str] = field(default_factory=list)  # acknowledged, and gone
    damage: list[str] = field(default_factory=list)  # told of a file that a cut alone has left
    alarms: list[str] = field(default_factory=list)  # told that the store has fallen behind
    wrong: list[str] = field(default_factory=list)  # a state that never was, or no state
    unmade: int = 0  # cut before the store was made
    spoilt: list[str] = field(default_factory=list)  # of these, told of damage
    later: int = 0  # more is durable than was acknowledged
    kinds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.images} images: {len(self.lost)} lost, {len(self.damage)} damaged, "
            f"{len(self.alarms)} said to have fallen behind, {len(self.wrong)} wrong; "
            f"{self.unmade} cut while the store was made, {len(self.spoilt)} of them damaged; "
            f"{self.later} with more than was acknowledged; {dict(self.kinds)}"
        )


def _python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(ROOT), str(HERE)))
    return subprocess.run(
        [sys.executable, "-W", "error", "-P", str(HERE / script), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=100,
        check=False,
    )


def record(folder: Path, *, seed: int, commits: int, engine: str = "durable") -> Recording:
    """Run the workload in a child and read back what it did."""
    root, log, journal = folder / "data", folder / "log", folder / "journal"
    root.mkdir(parents=True)
    done = _python(
        "power_workload.py", str(root), str(log), str(journal), str(seed), str(commits), engine
    )
    if done.returncode:
        raise RuntimeError(f"the workload failed ({done.returncode}): {done.stderr}")
    return Recording(root, log, read_story(journal), json.loads(done.stdout))


def missed(recording: Recording) -> list[str]:
    """Return the files that are not what the log says: something wrote unseen."""
    disk = Disk(recording.log)
    disk.play(len(disk.events))
    seen = dict(disk.seen())
    real = {
        path.relative_to(recording.folder).as_posix(): path.read_bytes()
        for path in recording.folder.rglob("*")
        if path.is_file()
    }
    locks = {name for name in real if name.endswith("lock.mdb")}  # written through the map
    names = (set(real) ^ set(seen)) | {name for name in real if real[name] != seen.get(name)}
    return sorted(names - locks)


def cut(recording: Recording, folder: Path, *, images: int, seed: int) -> Iterator[Image]:
    """Write so many images into `folder`, one by one, by the position of the cut."""
    chance, story = random.Random(seed), recording.story
    disk = Disk(recording.log)
    last = len(disk.events)
    barriers = [n for n, event in enumerate(disk.events) if _is_barrier(event)]
    ends = [one.ended for one in story.commits if one.ended]
    # where a cut may find something: about a barrier, about an answer, about damage
    near = [n + more for n in barriers for more in (0, 1) if n >= story.made] or ends
    first = range(story.made + 1)
    hurt = range(story.damaged, story.damaged + 40) if story.damaged is not None else near
    places = [range(story.made, last), range(story.made, last), near, near, ends, ends, first, hurt]
    cuts = [
        (min(chance.choice(chance.choice(places)), last), chance.random() < 0.5)
        for _ in range(images)
    ]
    live_lock = recording.log.with_suffix(".lock")
    for number, (place, during) in enumerate(sorted(cuts)):
        disk.play(place)
        chance = random.Random(f"{seed} {number}")  # of this image alone: it can be made again
        keep = chance.choice(list(Keep))
        path = folder / f"{number:04d}-{place}-{'in' if during else 'before'}-{keep.name}"
        (disk.in_the_middle() if during else disk).write_image(path, keep, chance)
        lock = path / "trades" / "lock.mdb"
        if lock.exists() and chance.random() < 0.5:
            shutil.copyfile(live_lock, lock)
        yield Image(path, place, during, keep)


def _is_barrier(event: dict[str, Any]) -> bool:
    return "sync" in event["kind"] or bool(event.get("synced"))


def look(images: Sequence[Image]) -> dict[Path, dict[str, Any]]:
    """Let children look at images; one that kills its child is told so, the rest goes on."""
    found: dict[Path, dict[str, Any]] = {}
    while rest := [image.path for image in images if image.path not in found]:
        done = _python("power_checker.py", *map(str, rest))
        begun: Path | None = None
        for line in done.stdout.splitlines():
            note = json.loads(line)
            begun = Path(note["begin"]) if "begin" in note else None
            if "end" in note:
                found[Path(note["end"])] = note
        if begun is not None:
            found[begun] = {"error": f"it killed its reader ({done.returncode}): {done.stderr}"}
        elif done.returncode:
            raise RuntimeError(f"the images could not be looked at: {done.stderr}")
    return found


def judge(recording: Recording, images: Iterable[Image], tally: Tally) -> Tally:
    """Look at images as they come, and add what is found; sound ones are deleted."""
    with ThreadPoolExecutor(WORKERS) as pool:
        source = iter(images)
        # a round at a time: no more of them on the disk than are looked at
        while batches := [batch for _ in range(WORKERS) if (batch := list(islice(source, BATCH)))]:
            for batch, found in zip(batches, pool.map(look, batches), strict=True):
                for image in batch:
                    _count(image, found[image.path], recording.story, tally)
                    shutil.rmtree(image.path)
    return tally


def _count(image: Image, found: dict[str, Any], story: Story, tally: Tally) -> None:
    made = image.cut >= story.made
    hurt = story.damaged is not None and image.cut >= story.damaged
    least, most = story.acknowledged(image.cut), story.begun(image.cut)
    where = f"{image.path.name}: {least} acknowledged, {most} begun"
    tally.images += 1
    tally.unmade += not made
    tally.kinds[image.keep.value] += 1
    if "error" in found:
        tally.wrong.append(f"{where}, {found['error']}")
        return
    if found["damage"] and not hurt:
        (tally.damage if made else tally.spoilt).append(f"{where}, {found['damage']}")
    if found["alarm"]:
        tally.alarms.append(f"{where}, {found['alarm']}")
    numbers = story.numbers(tuple(found["digests"]))
    if not numbers:
        tally.wrong.append(f"{where}, and a state that never was")
    elif max(numbers) < least:
        tally.lost.append(f"{where}, {max(numbers)} there")
    elif not any(least <= number <= most for number in numbers):
        tally.wrong.append(f"{where}, {numbers} there")
    elif least and found["account"] != [7, "Test-Demo"]:
        tally.wrong.append(f"{where}, bound to {found['account']}")
    elif hurt and numbers[-1] > _first_after(story) and not found["aside"]:
        tally.wrong.append(f"{where}, and what was set aside is gone")
    tally.later += bool(numbers) and min(numbers) > least


def _first_after(story: Story) -> int:
    """Return the number that stands for the damage."""
    return min(one.number for one in story.commits if one.began == story.damaged)
