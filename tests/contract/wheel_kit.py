"""The official wheel, read and never imported: its constants, and the tables of its binary."""

from __future__ import annotations

import ast
import os
import re
import struct
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from terminals.module import VERSION

REQUIRE = "DTMS_REQUIRE_INDEX"
_METHOD_FLAGS = {1: "positional", 3: "keywords", 4: "noargs"}


def download_wheel(folder: Path) -> Path:
    """Fetch the wheel for Windows by name; skip where no index can be reached."""
    command = [
        sys.executable,
        *("-m", "pip", "download", f"MetaTrader5=={VERSION}", "--no-deps", "--quiet"),
        *("--platform", "win_amd64", "--python-version", "3.11", "--only-binary=:all:"),
        *("--disable-pip-version-check", "--retries", "1", "--timeout", "20"),
        *("--dest", str(folder)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        said = done.stderr.strip()
    except subprocess.TimeoutExpired:
        said = "it took longer than 100 s"
    found = list(folder.glob("*.whl"))
    if found:
        return found[0]
    why = f"MetaTrader5 {VERSION} could not be fetched: {said[-300:]}"
    if os.environ.get(REQUIRE):
        pytest.fail(f"{why} ({REQUIRE} is set)")
    pytest.skip(f"{why} (set {REQUIRE} to make this a failure)")


class Method(NamedTuple):
    """A row of the binary's table of functions."""

    kind: str
    doc: str
    code: int


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """What the wheel says of itself."""

    constants: dict[str, int]
    functions: dict[str, str]  # those in Python, with their signatures
    methods: dict[str, Method]  # those in C
    structs: dict[str, tuple[str, ...]]
    formats: frozenset[str]  # every short text: among them those given to PyArg_ParseTuple
    texts: frozenset[str]


def read_wheel(path: Path) -> Wheel:
    """Read a wheel."""
    with zipfile.ZipFile(path) as archive:
        source = archive.read("MetaTrader5/__init__.py").decode()
        binary = next(name for name in archive.namelist() if name.endswith(".pyd"))
        image = _Image(archive.read(binary))
    constants, functions = _python_side(source)
    texts = image.texts()
    return Wheel(
        constants=constants,
        functions=functions,
        methods={n: one for n, one in image.methods().items() if n != "_asdict"},
        structs=image.structs(),
        formats=frozenset(text for text in texts if re.fullmatch(r"[Oikdp]{2,5}", text)),
        texts=texts,
    )


def _python_side(source: str) -> tuple[dict[str, int], dict[str, str]]:
    constants: dict[str, int] = {}
    functions: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _number(node.value)
            if value is not None:
                constants[node.targets[0].id] = value
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            functions[node.name] = ast.unparse(node.args)
    return constants, functions


def _number(node: ast.expr) -> int | None:
    """Evaluate numbers, minus and or; nothing else stands for a constant there."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _number(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _number(node.left), _number(node.right)
        return None if left is None or right is None else left | right
    return None


class _Image:
    """A PE file of 64 bits, as far as its tables need it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        header = struct.unpack_from("<I", data, 0x3C)[0]
        count, optional = struct.unpack_from("<H12xH", data, header + 6)
        self._base = struct.unpack_from("<Q", data, header + 24 + 24)[0]
        sections = header + 24 + optional
        self._sections = {}
        for number in range(count):
            name, _, address, size, place = struct.unpack_from(
                "<8s4I", data, sections + 40 * number
            )
            self._sections[name.rstrip(b"\0").decode()] = (address, place, size)

    def _place(self, pointer: int) -> int | None:
        for address, place, size in self._sections.values():
            if 0 <= pointer - self._base - address < size:
                return int(place + pointer - self._base - address)
        return None

    def _text(self, pointer: int) -> str | None:
        place = self._place(pointer)
        if place is None:
            return None
        raw = self._data[place : self._data.index(b"\0", place)]
        return raw.decode() if raw and all(31 < one < 127 or one == 10 for one in raw) else None

    def _is_code(self, pointer: int) -> bool:
        address, _, size = self._sections[".text"]
        return bool(0 <= pointer - self._base - address < size)

    def _words(self) -> range:
        _, place, size = self._sections[".data"]
        return range(place, place + size - 32, 8)

    def methods(self) -> dict[str, Method]:
        """Return the table of functions: rows of name, function, flags and docstring."""
        found = {}
        for place in self._words():
            name, code, flags, doc = struct.unpack_from("<QQI4xQ", self._data, place)
            shown, said = self._text(name), self._text(doc)
            if shown and said and flags in _METHOD_FLAGS and self._is_code(code):
                found[shown] = Method(_METHOD_FLAGS[flags], said, code)
        return found

    def structs(self) -> dict[str, tuple[str, ...]]:
        """Return the struct sequences: rows of name, docstring, fields and their number."""
        found = {}
        for place in self._words():
            name, doc, fields, count = struct.unpack_from("<QQQI", self._data, place)
            shown, start = self._text(name), self._place(fields)
            if shown and self._text(doc) and start is not None and 1 < count < 200:
                pointers = [
                    struct.unpack_from("<Q", self._data, start + 16 * n)[0] for n in range(count)
                ]
                names = [self._text(pointer) for pointer in pointers]
                if all(names):
                    found[shown] = tuple(str(one) for one in names)
        return found

    def texts(self) -> frozenset[str]:
        """Return all texts among the constant data."""
        _, place, size = self._sections[".rdata"]
        raw = self._data[place : place + size]
        found = re.findall(rb"[\x20-\x7e\n]{2,}(?=\0)", raw)
        return frozenset(one.decode() for one in found)
