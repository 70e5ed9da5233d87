"""Which services a ComfyUI cannot run, and why: asked when a worker starts, and by ``doctor``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from ..capability import Requirement
from ..errors import EngineUnavailable
from .engine import ComfyEngine

log = logging.getLogger(__name__)

_SHOWN = 5

Needs = dict[str, Requirement]
"""Service → what says whether a ComfyUI has all it needs."""


def missing_for(needs: Needs, engine: Callable[[], ComfyEngine], *, expected: bool = True) -> dict[str, str]:
    """Service → what it lacks; starts that ComfyUI.

    Args:
        expected: Whether somebody counts on these services: it is an error then that there is no ComfyUI.
    """
    if not needs:
        return {}
    try:
        catalog = engine().catalog()
    except EngineUnavailable as error:
        log.log(logging.ERROR if expected else logging.INFO, "%s", error.message)
        return dict.fromkeys(needs, error.message)
    found = {service: _told(check(catalog)) for service, check in needs.items()}
    lacking = {service: why for service, why in found.items() if why}
    for service, why in lacking.items():
        log.error("%s cannot run here: %s", service, why)
    return lacking


def _told(problems: Iterable[str]) -> str:
    lines = list(problems)
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "; ".join(lines[:_SHOWN]) + more
