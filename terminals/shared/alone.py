"""A broker of one program's own (`DTMS_BROKER=in-process`), by the variables of the others.

What cannot be had so is refused by name: a program whose wish was dropped
without a word would test something else than it believes.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from defence.errors import Invalid
from terminals.sim.fault_seed import chosen_faults
from terminals.sim.terminal import SimulatedTerminal
from terminals.worker.build import simulated
from terminals.worker.plan import IDEAL_TERMS, simulated_plan

SEED: Final = "DTMS_SEED"
CONDITIONS: Final = "DTMS_SIM_CONDITIONS"
SPEED: Final = "DTMS_SPEED"
PRICES: Final = "DTMS_PRICES"
FAULTS: Final = "DTMS_SIM_FAULTS"
STATE: Final = "DTMS_SIM_STATE"
HONOURED: Final = (SEED, CONDITIONS, SPEED, PRICES, FAULTS)


def alone(environ: Mapping[str, str]) -> SimulatedTerminal:
    """Return a broker that nobody else sees, its market beginning now.

    The variables mean what the flags of `run.py broker` mean. Raises Invalid
    for a value that is none, and for DTMS_SIM_STATE.
    """
    state = environ.get(STATE)
    if state:
        raise Invalid(
            f"{state!r} cannot be kept in-process: two programs would write one file",
            field=STATE,
            value=state,
            remedy="keep an account with `python run.py broker --sim-state`, or unset it",
        )
    files, faults = environ.get(PRICES, ""), environ.get(FAULTS)
    plan = simulated_plan(
        seed=int(_number(environ, SEED, "1", whole=True)),
        start=time.time(),
        prices=[Path(one) for one in files.split(os.pathsep) if one],
        speed=_number(environ, SPEED, "1"),
        faults=chosen_faults(Path(faults)) if faults else (),
        conditions=environ.get(CONDITIONS) or IDEAL_TERMS,
    )
    return simulated(SimulatedTerminal, plan.options)


def _number(environ: Mapping[str, str], name: str, usual: str, *, whole: bool = False) -> float:
    text = environ.get(name) or usual
    kind = "a whole number" if whole else "a number, 0 or more"
    try:
        value: float = int(text) if whole else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (value < 0 and not whole):
        raise Invalid(f"{text!r} is not {kind}", field=name, value=text, remedy="leave it out")
    return value
