"""Who may read which page, and which addresses others can reach."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from myspinbot_worker.farm import secrets_of
from myspinbot_worker.http_token import exposure, may_read
from myspinbot_worker.metrics import new_registry
from myspinbot_worker.pages import build_app
from tests.unit.config_home import Home
from tests.unit.config_home import home as home

TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_opens_every_page(scheme: str) -> None:
    assert may_read("/metrics", f"{scheme} {TOKEN}", TOKEN)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        "Bearer \u20ac",
        "Bearer \xff",
    ],
)
def test_anything_else_opens_health_alone(authorization: str) -> None:
    assert not may_read("/metrics", authorization, TOKEN)
    assert not may_read("/", authorization, TOKEN)
    assert not may_read("/health/", authorization, TOKEN)
    assert may_read("/health", authorization, TOKEN)
    assert may_read("/ready", authorization, TOKEN)


def test_without_a_token_every_page_is_open() -> None:
    assert may_read("/metrics", "", "")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_this_machine_alone(host: str) -> None:
    assert exposure(host, "") == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "farm.example"])
def test_others_can_reach_it(host: str) -> None:
    assert "FARM_SERVER_TOKEN" in exposure(host, "")
    assert exposure(host, TOKEN) == ""


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/", "/openapi.json", "/docs", "/nothing", "//metrics", "/health/../metrics", "/%6detrics"],
)
def test_what_the_app_answers(path: str) -> None:
    client = TestClient(build_app(new_registry(), {}, {}, token=TOKEN))
    refused = client.get(path)
    assert refused.status_code == 401
    assert "server.token" in refused.json()["error"]
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code in (200, 404)


def test_checks_quote_no_secret() -> None:
    client = TestClient(build_app(new_registry(), {"a": lambda: f"no {TOKEN}"}, {}, secrets=[TOKEN]))
    assert client.get("/health").json()["checks"] == {"a": "no ***"}


def test_secrets_as_errors_and_json_quote_them(home: Home) -> None:
    settings = home.load({"MINIO_SECRET_KEY": "back\\slash-\u00e9-'quote"})
    assert {
        "back\\slash-\u00e9-'quote",
        "back\\\\slash-\u00e9-'quote",
        "back\\\\slash-\\u00e9-'quote",
    } == set(secrets_of(settings))


def test_secrets_in_every_spelling(home: Home) -> None:
    settings = home.load(
        {
            "REDIS_URL": "redis://u:p%40ssw%2Ford@h/0?ssl_password=other%21one&db=1",
            "MINIO_ACCESS_KEY": "access",
            "MINIO_SECRET_KEY": "key",
            "FARM_SERVER_TOKEN": TOKEN,
        }
    )
    assert [*map(len, secrets_of(settings))] == sorted(map(len, secrets_of(settings)), reverse=True)
    assert set(secrets_of(settings)) == {
        "access", TOKEN, "p%40ssw%2Ford", "p@ssw/ord", "other%21one", "other!one",
    }  # fmt: skip
