"""The process that looks at crash images; a bad one may kill it. Run as a script.

Arguments: folders of images. Notes each beginning and end on standard output.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from power_oracle import held
from power_workload import weaken
from storage_samples import T0, trade

from defence.errors import DtmsError
from storage import preflight
from storage.folder import DataFolder, Stores, open_stores
from storage.swap import Why
from storage.trades import Batch


def look(image: Path) -> dict[str, Any]:
    """Start on an image as a guard does; return what was told, and the state."""
    folder = DataFolder(image)
    stores = open_stores(folder, T0 + 1_000)
    try:
        swaps = [swap for _, swap in folder.untold()]
        return {
            "damage": [f"{swap.name}: {swap.reason}" for swap in swaps if swap.why is Why.DAMAGED],
            "alarm": [
                f"{swap.name}: {swap.reason}" for swap in swaps if swap.why is Why.ROLLED_BACK
            ],
            "digests": held(stores.trades).digests(),
            "account": stores.trades.account(),
            "aside": len([*image.glob("trades.damaged-*/data.mdb")]),
            **_goes_on(stores),
        }
    finally:
        stores.close()


def _goes_on(stores: Stores) -> dict[str, Any]:
    """Write once more: a store that can be read and not written is no store."""
    before = stores.trades.environment.sequence
    stores.trades.commit(Batch(trades=(trade(1),)))
    after = stores.trades.environment.sequence
    good = after == before + 1 and stores.trades.load()[0][1] == trade(1)
    return {} if good else {"error": f"another commit led from {before} to {after}"}


def _no_barrier(fd: object) -> None:
    """Do nothing."""


def main() -> None:
    """Look at all of them."""
    preflight.available = lambda: False  # this is the child that may die of an image
    # what is written here is thrown away in a moment: no barrier is waited for
    os.fsync = _no_barrier
    weaken("no sync")
    for image in sys.argv[1:]:
        print(json.dumps({"begin": image}), flush=True)
        try:
            found = look(Path(image))
        except (DtmsError, ValueError) as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"end": image, **found}), flush=True)


if __name__ == "__main__":
    main()
