"""Redis itself is killed under load: with a log nothing acknowledged is lost, and what is lost is noticed."""

from __future__ import annotations

import pytest

from .redis_loss import measure


@pytest.mark.parametrize("mode", ["always", "(no log)"])
def test_what_a_kill_of_redis_loses(mode: str) -> None:
    loss = measure(mode, kills=1, seed=1)
    assert loss.entries > 100
    assert loss.acts > 10
    lost = (0, 0) if mode == "always" else (loss.entries, loss.acts)
    assert (loss.entries_lost, loss.acts_lost) == lost
    assert not loss.torn
