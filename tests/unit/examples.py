"""How many examples a property is tried on. No deadline: the machine's load is not the code's fault."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_health = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
some = settings(max_examples=40, deadline=None, suppress_health_check=_health)
many = settings(max_examples=100, deadline=None, suppress_health_check=_health)
