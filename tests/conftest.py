"""For all tests: hypothesis judges the code, not how busy the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile("dtms", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dtms")
