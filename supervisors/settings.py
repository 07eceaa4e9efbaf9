"""Settings: a flag, an environment variable, or a key of `dtms.toml`, in that order."""

from __future__ import annotations

import math
import os
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from actors.monitor import ARMED, OBSERVE
from defence.errors import Invalid
from defence.plans import Adoption
from defence.state_folder import state_dir
from storage.locks import account_name
from supervisors.spec import Escalation
from terminals.bridge.place import HOST, PORT, Place

Mode = Literal["observe", "armed"]
TerminalKind = Literal["simulated", "native", "bridge"]
SimConditions = Literal["ideal", "typical"]

SIMULATED_TIMEOUT = 60.0
REAL_TIMEOUT = 300.0
CALL_TIMEOUT = 20.0


class Settings(BaseSettings):
    """Every setting of a guard (DESIGN, The command line). Times in seconds.

    Raises `Invalid` naming the field, the value and the remedy. Environment
    variables are `DTMS_` and the name in capitals.
    """

    model_config = SettingsConfigDict(
        env_prefix="DTMS_",
        toml_file="dtms.toml",
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        allow_inf_nan=False,
    )

    terminal: TerminalKind = "simulated"
    mode: Mode | None = None
    data_dir: Path | None = None
    state_dir: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(8001, ge=0, le=65535)
    token: SecretStr | None = None
    interval: float = Field(30.0, gt=0, le=86_400)
    startup_timeout: float | None = Field(None, gt=0)
    max_restarts: int = Field(3, ge=0)
    restart_period: float = Field(3600.0, gt=0)
    escalation: Escalation = Escalation.RETRY
    prices: Annotated[tuple[Path, ...], NoDecode] = ()
    speed: float = Field(1.0, ge=0)
    duration: float | None = Field(None, gt=0)
    sim_state: Path | None = None
    sim_faults: Path | None = None
    sim_conditions: SimConditions = "ideal"
    broker: str | None = None  # of another process: its file, or HOST:PORT
    broker_token: SecretStr | None = None  # with HOST:PORT
    seed: int = 1
    chaos: bool = False

    adoption: Adoption | None = None
    stale_after: float = Field(60.0, gt=0)
    hang_after: float = Field(30.0, gt=0)
    check_every: float = Field(1.0, gt=0)
    stop_timeout: float = Field(5.0, gt=0)
    reconcile_every: float = Field(300.0, gt=0)
    backup_every: float = Field(3600.0, ge=0)  # 0: on demand only
    backups_kept: int = Field(24, ge=1)
    history_days: float = Field(90.0, ge=0)  # until details become sums by day; 0: never
    alert_repeat: float = Field(300.0, gt=0)
    alert_urls: Annotated[tuple[SecretStr, ...], NoDecode] = ()  # of apprise; they hold secrets
    quote_stale_after: float = Field(120.0, gt=0)
    backoff_first: float = Field(1.0, ge=0)
    rate_limit: float = Field(200.0, ge=0)  # mutations a second and client; 0 is unlimited
    max_body: int = Field(262_144, gt=0)  # bytes

    login: int | None = Field(None, gt=0)
    password: SecretStr | None = None
    server: str | None = None
    terminal_path: Path | None = None
    portable: bool = False
    isolate: bool | None = None  # host the terminal in a process of its own
    call_timeout: float | None = Field(None, gt=0)  # hosted, bridge: until a call is given up
    terminal_timeout: float = Field(60.0, gt=0)  # for connecting, as the package counts it
    bridge_host: str = HOST
    bridge_port: int = Field(PORT, ge=1, le=65535)
    bridge_remote: bool = False  # lets the bridge leave this machine

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error) from None
        except SettingsError as error:
            raise Invalid(
                f"a variable cannot be read: {error}", field="environment", remedy="see --help"
            ) from None
        except TOMLDecodeError as error:
            raise Invalid(
                f"is no TOML: {error}", field="dtms.toml", remedy="mend the file, or move it away"
            ) from None

    @field_validator("alert_urls", mode="before")
    @classmethod
    def _split_urls(cls, value: object) -> object:
        """In a variable, URLs are separated by white space."""
        return value.split() if isinstance(value, str) else value

    @field_validator("prices", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """In a variable, files are separated as folders are in PATH."""
        return value.split(os.pathsep) if isinstance(value, str) else value

    @field_validator("interval", "speed", "stale_after", "hang_after")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value

    @model_validator(mode="after")
    def _before_it_is_hung(self) -> Self:
        """Calls must be over before their Connector is judged, or killing one saves nobody.

        Connecting makes three in one go (initialize, terminal_info,
        account_info). Two may be as slow as a call may be, and the third too
        slow, before the worker is killed; what follows is answered at once. A
        terminal that is slow like that is an outage, and not to be charged to
        the Connector as a hang of its own.
        """
        longest = self._longest_call
        timed = self.isolated or self.terminal == "bridge" or self.broker is not None
        if self.call_timeout is not None and timed and self.call_timeout > longest:
            raise Invalid(
                f"must be at most {longest:g}, three tenths of hang_after "
                f"(got {self.call_timeout:g})",
                field="call_timeout",
                value=self.call_timeout,
                remedy="raise hang_after, or leave DTMS_CALL_TIMEOUT (--call-timeout) out",
            )
        return self

    @model_validator(mode="after")
    def _bridge_is_safe(self) -> Self:
        """Where the bridge leads is known before anything is tried."""
        if self.terminal == "bridge":
            _ = self.bridge
            if self.isolate:
                raise Invalid(
                    "the bridge's calls have their own deadlines, and no process of their own",
                    field="isolate",
                    value=True,
                    remedy="leave it out",
                )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def simulated(self) -> bool:
        """Whether no real money can be touched."""
        return self.terminal == "simulated"

    @property
    def wanted_mode(self) -> str:
        """The mode asked for: armed when simulated, else observe."""
        return self.mode or (ARMED if self.simulated else OBSERVE)

    @property
    def folder(self) -> Path:
        """The data folder. Raises `Invalid` if it cannot be told."""
        if self.data_dir is not None:
            return self.data_dir
        if self.simulated:
            return Path("dtms-data")
        if self.login is None or self.server is None:
            raise Invalid(
                "a real terminal needs a data folder by account",
                field="data_dir",
                remedy="give --login and --server, or --data-dir",
            )
        return self.locks_dir / "accounts" / account_name(self.login, self.server)

    @property
    def locks_dir(self) -> Path:
        """Where the account locks are: the user's state folder."""
        return self.state_dir or state_dir()

    @property
    def timeout(self) -> float:
        """Seconds that the start may take."""
        if self.startup_timeout is not None:
            return self.startup_timeout
        return SIMULATED_TIMEOUT if self.simulated else REAL_TIMEOUT

    @property
    def isolated(self) -> bool:
        """Whether the terminal is hosted in a process of its own: a native one, unless told."""
        return self.terminal == "native" if self.isolate is None else self.isolate

    @property
    def bridge(self) -> Place:
        """Where the mt5linux server is. Raises `Invalid` for another machine, unless told."""
        return Place(self.bridge_host, self.bridge_port, self.bridge_remote)

    @property
    def worker_timeout(self) -> float:
        """Seconds a call of a hosted terminal, or a bridge, may take; see `_before_it_is_hung`."""
        return self.call_timeout or min(CALL_TIMEOUT, self._longest_call)

    @property
    def _longest_call(self) -> float:
        """Of which three in a row fit into `hang_after`, with a tenth to spare."""
        return self.hang_after * 3 / 10

    @property
    def adopts(self) -> Adoption:
        """What happens to a position that nobody registered."""
        if self.adoption is not None:
            return self.adoption
        return Adoption.ADOPT if self.simulated else Adoption.OBSERVE

    @property
    def cycle_interval(self) -> float:
        """Seconds of real time between cycles: `interval` is market time when prices are played.

        At speed 0 cycles follow one another, and each moves the market on by
        `interval`; otherwise a played market that runs faster is looked at
        more often, at most 20 times a second.
        """
        if not self.simulated or self.speed == 1:
            return self.interval
        return 0.001 if self.speed == 0 else max(0.05, self.interval / self.speed)


def _explain(error: ValidationError) -> Invalid:
    """Return the first fault by field; a secret's value is never shown."""
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else "settings"
    unknown = first["type"] == "extra_forbidden"
    secret = field in ("token", "password", "broker_token", "alert_urls")
    value = None if secret else first["input"]
    shown = "" if secret or unknown else f" (got {value!r})"
    message = "there is no such setting" if unknown else first["msg"]
    return Invalid(
        f"{message}{shown}",
        field=field,
        value=value,
        remedy=f"see --help; as a variable it is DTMS_{field.upper()}",
    )
