"""Every setting is a flag, a variable and a key; a bad one names field, value and remedy."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from defence.errors import Invalid
from supervisors import Settings

DOCS = Path(__file__).resolve().parents[2] / "docs"

BAD = [
    ("interval", -1),
    ("interval", 0),
    ("interval", float("nan")),
    ("interval", "soon"),
    ("port", 70_000),
    ("port", "http"),
    ("speed", -2),
    ("speed", float("inf")),
    ("max_restarts", -1),
    ("max_restarts", 1.5),
    ("restart_period", 0),
    ("startup_timeout", 0),
    ("terminal", "mt4"),
    ("mode", "berserk"),
    ("duration", -5),
    ("login", 0),
    ("chaos", "perhaps"),
    ("no_such_setting", 1),
]


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No dtms.toml of the developer's may be read."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("field", "value"), BAD, ids=[f"{f}={v}" for f, v in BAD])
def test_a_bad_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(Invalid) as caught:
        Settings(**{field: value})
    assert caught.value.field == field
    assert f"DTMS_{field.upper()}" in (caught.value.remedy or "")


def test_a_bad_secret_is_not_shown() -> None:
    with pytest.raises(Invalid) as caught:
        Settings(token={"my": "hidden"})
    assert "hidden" not in str(caught.value)
    assert caught.value.value is None


def test_flags_win_over_variables_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dtms.toml").write_text("interval = 7\nport = 7007\nspeed = 7\n")
    monkeypatch.setenv("DTMS_PORT", "8008")
    monkeypatch.setenv("DTMS_SPEED", "8")
    settings = Settings(speed=9)
    assert (settings.interval, settings.port, settings.speed) == (7, 8008, 9)


def test_an_unknown_key_in_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dtms.toml").write_text("intervall = 7\n")
    with pytest.raises(Invalid) as caught:
        Settings()
    assert caught.value.field == "intervall"


def test_defaults_depend_on_the_terminal(tmp_path: Path) -> None:
    simulated = Settings()
    real = Settings(terminal="native", login=5, server="Broker-Live", state_dir=tmp_path)
    assert (simulated.wanted_mode, simulated.timeout, str(simulated.adopts)) == (
        "armed",
        60,
        "adopt",
    )
    assert (real.wanted_mode, real.timeout, str(real.adopts)) == ("observe", 300, "observe")
    assert simulated.folder == Path("dtms-data")
    assert tmp_path in real.folder.parents
    with pytest.raises(Invalid) as caught:
        _ = Settings(terminal="native").folder
    assert caught.value.field == "data_dir"


def test_played_prices_are_looked_at_in_market_time() -> None:
    assert Settings(interval=30).cycle_interval == 30
    assert Settings(interval=30, speed=60).cycle_interval == 0.5
    assert Settings(interval=30, speed=0).cycle_interval == 0.001
    assert Settings(interval=30, speed=60, terminal="native").cycle_interval == 30


def test_several_price_files_in_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [tmp_path / "bid.csv", tmp_path / "ask.csv"]
    monkeypatch.setenv("DTMS_PRICES", os.pathsep.join(map(str, names)))
    assert Settings().prices == tuple(names)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "dtms.toml").write_text("interval = = 7\n")
    with pytest.raises(Invalid) as caught:
        Settings()
    assert caught.value.field == "dtms.toml"
    assert caught.value.remedy


def test_the_table_of_settings_has_every_one_with_its_default() -> None:
    page = (DOCS / "operating.md").read_text(encoding="utf-8")
    chapter = page.split("\n## Settings\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(--)?([\w-]+)` \| (.+?) \|", chapter, re.MULTILINE)
    told = {name.replace("-", "_"): default for _, name, default in rows}
    assert len(told) == len(rows), "one row each"
    assert set(told) == set(Settings.model_fields)
    for flag, name, default in rows:
        field = Settings.model_fields[name.replace("-", "_")]
        assert bool(flag) == ("SecretStr" not in str(field.annotation)), name
        if isinstance(field.default, bool):
            assert (default, field.default) == ("off", False), name
        elif isinstance(field.default, int | float):
            assert default == f"`{field.default:.10g}`", name
        elif isinstance(field.default, str):
            assert default == f"`{field.default}`", name
