"""Damage folders seed by seed and judge what guards do: in a process that some damage would kill.

    python damage_batch.py FOLDER FIRST END A_WORLD EVERY

Seeds FIRST to END, a new world after so many of them; every so many cases are
started a second time. A line of JSON when a seed begins, and one when it ends.
"""

from __future__ import annotations

import json
import shutil
import sys
import traceback
from pathlib import Path

from damage_blows import KINDS, strike
from damage_journal import Recorder
from damage_judge import WrongError, judge
from damage_world import World, build, copied
from loguru import logger


def main(base: Path, first: int, end: int, a_world: int, every: int) -> None:
    """Judge the seeds from `first` to before `end`."""
    logger.remove()
    recorder = Recorder()
    world: World | None = None
    for seed in range(first, end):
        number = seed // a_world
        if world is None or world.seed != number:
            if world is not None:
                shutil.rmtree(world.folder)
            world = build(base / f"world{number}", number, recorder)
        _say(begin=seed)
        case = copied(world, base / f"case{seed}")
        damage = strike(case, seed)
        try:
            verdict = judge(case, damage, again=seed % every == 0)
        except WrongError as wrong:
            _say(end=seed, kinds=damage.kinds, wrong=str(wrong))
        except Exception:  # noqa: BLE001 - whatever it raises is the finding
            _say(end=seed, kinds=damage.kinds, wrong=traceback.format_exc()[-1500:])
        else:
            _say(end=seed, kinds=damage.kinds, ended=verdict.ended, replaced=verdict.replaced)
        shutil.rmtree(case.folder, ignore_errors=True)
    _say(kinds=len(KINDS))


def _say(**said: object) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:6]))
