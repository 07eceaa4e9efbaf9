"""For all tests: hypothesis judges the code, not how busy the machine is; `--long` for more."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dtms", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dtms")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag of the long run."""
    parser.addoption("--long", action="store_true", help="as many rounds as a night allows")


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> Callable[..., int]:
    """Say how many rounds to do: `rounds(ci=20, long=200)`."""

    def choose(*, ci: int, long: int) -> int:
        return long if request.config.getoption("--long") else ci

    return choose
