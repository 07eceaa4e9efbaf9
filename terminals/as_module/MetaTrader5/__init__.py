"""MetaTrader5, simulated: every function, constant and type of the package, and no money.

With this folder's parent on PYTHONPATH a program that was written for the
official package runs unchanged on the simulated broker that DTMS_BROKER names
(`python run.py broker` starts one; `in-process` is a private one). See
docs/bots.md.
"""

import sys as _sys
from importlib.machinery import ModuleSpec as _ModuleSpec
from importlib.machinery import PathFinder as _PathFinder
from pathlib import Path as _Path

_ROOT = _Path(__file__).resolve().parents[3]
_OURS = ("defence", "terminals")


class _Finder:
    """Finds the two packages that this one needs, and nothing else: the path stays as it is."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> _ModuleSpec | None:
        """Return where such a package is; it is asked after everybody else."""
        return _PathFinder.find_spec(name, [str(_ROOT)]) if name in _OURS else None


def _check() -> None:
    """Raise ImportError if a program has packages of its own under the names of ours."""
    for name in _OURS:
        found = getattr(__import__(name), "__file__", None)
        if found is None or _Path(found).resolve().parents[1] != _ROOT:
            raise ImportError(
                f"the simulated MetaTrader5 needs its own package {name!r} from {_ROOT}, and "
                f"{found} is in the way: rename that one, or start Python in another folder"
            )


if not any(isinstance(one, type) and one.__name__ == _Finder.__name__ for one in _sys.meta_path):
    _sys.meta_path.append(_Finder)
_check()

from terminals.module import CONSTANTS as _CONSTANTS  # noqa: E402 - found by what is above
from terminals.module import TYPES as _TYPES  # noqa: E402
from terminals.module import VERSION as _VERSION  # noqa: E402
from terminals.module import module_functions as _functions  # noqa: E402
from terminals.shared.module import PackageTerminal as _Terminal  # noqa: E402

__version__ = _VERSION
__author__ = "MetaQuotes Ltd."
globals().update(_CONSTANTS)
globals().update(_TYPES)
globals().update(_functions(_Terminal()))
