"""What people are told to type exists."""

from __future__ import annotations

import inspect
import re

from console.control import COMMANDS
from console.main import app
from supervisors import wording


def test_the_commands_in_alerts_exist() -> None:
    text = inspect.getsource(wording)
    asked = re.findall(r"\bctl ([a-z-]+)", text)
    assert asked
    assert set(asked) <= set(COMMANDS)
    plain = re.findall(r"run\.py ([a-z-]+)", text)
    assert plain
    names = {one.name or getattr(one.callback, "__name__", "") for one in app.registered_commands}
    assert set(plain) <= names
