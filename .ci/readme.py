"""Run the code of the documentation: every Python block, every marked command, every link.

A block in `python` is run as a script from the checkout. A block in `bash`
below `<!-- run -->` is run with bash. The other blocks are shown only. Links
to files of the checkout must exist.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"(<!-- run -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def blocks(text: str) -> list[tuple[str, str]]:
    """Return (language, code) of what is to be run."""
    return [
        (language, code)
        for marked, language, code in BLOCK.findall(text)
        if language == "python" or (language == "bash" and marked)
    ]


def run(language: str, code: str, root: Path) -> int:
    """Run one block in a new folder that sees the checkout; return its exit status."""
    python = Path(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        where = {"PATH": f"{python.parent}:/usr/bin:/bin", "PYTHONPATH": str(root), "HOME": folder}
        if language == "python":
            command = [str(python), "-W", "error", "-c", code]
        else:
            command = ["bash", "-euo", "pipefail", "-c", code]
        cwd = folder if language == "python" else str(root)
        return subprocess.run(command, env=where, cwd=cwd, timeout=120, check=False).returncode


def main() -> int:
    """Check the files and folders named on the command line."""
    root = Path(__file__).resolve().parent.parent
    failed = 0
    for name in sys.argv[1:]:
        path = root / name
        for page in [path] if path.is_file() else sorted(path.rglob("*.md")):
            text = page.read_text(encoding="utf-8")
            for target in LINK.findall(text):
                if not (page.parent / target).exists():
                    print(f"{page.relative_to(root)}: no file {target}")
                    failed += 1
            for language, code in blocks(text):
                status = run(language, code, root)
                print(f"{page.relative_to(root)}: {language} block, exit {status}", flush=True)
                failed += status != 0
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
