"""`python -m terminals.worker` is the child's side; the guard starts it with its ways set."""

from __future__ import annotations

import sys

from terminals.worker.child import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
