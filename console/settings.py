"""From flags to Settings: only what was given is passed on; every fault is one line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic_settings import SettingsError

from console.ends import Usage, one_line, told
from defence.errors import Invalid

if TYPE_CHECKING:
    from supervisors.settings import Settings


def load(given: Mapping[str, object]) -> Settings:
    """Return the settings; flags win over the environment, the environment over dtms.toml.

    Raises `Usage` naming the flag, variable or key, the value and the remedy.
    """
    # late: the flags of the command line are read before the house is loaded
    from supervisors.settings import Settings

    try:
        settings = Settings(**given)
        _ = settings.folder  # whether it can be told
    except Invalid as error:
        raise Usage(told(error, given)) from None
    except SettingsError as error:
        remedy = """give lists as JSON, as in DTMS_PRICES='["bid.csv", "ask.csv"]'"""
        raise Usage(one_line(f"{error}; {remedy}")) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Usage(f"dtms.toml: is not TOML: {error}; mend it or move it away") from None
    except OSError as error:
        raise Usage(f"dtms.toml: cannot be read: {error.strerror}; mend or move it") from None
    return settings
