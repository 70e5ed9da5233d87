from __future__ import annotations
import pytest, redis
@pytest.fixture(scope="session")
def text_client():
    return redis.Redis(port=6399, decode_responses=True)
