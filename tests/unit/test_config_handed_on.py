"""Settings handed on: to people without secrets, to child processes, through pickle."""

from __future__ import annotations

import copy
import pickle

import pytest
from pydantic import ValidationError

from myspinbot_worker.config import describe, environment, load_settings
from myspinbot_worker.config_values import masked_url
from myspinbot_worker.settings import Settings
from tests.unit.config_home import BRIDGE, CONFIG, VARIABLES, Home, plain
from tests.unit.config_home import home as home


def test_settings_are_frozen_hashable_and_travel(home: Home) -> None:
    loaded = home.load({"FARM_ENGINE": "preview"})
    with pytest.raises(ValidationError):
        setattr(loaded.farm, "engine", "preview")  # noqa: B010 -- the type checker refuses the plain form
    assert hash(loaded) == hash(copy.deepcopy(loaded))
    again = pickle.loads(pickle.dumps(loaded))
    assert again == loaded
    assert again.origins == loaded.origins


SECRETS = {
    "REDIS_URL": "redis://user:hunter2@h:6379/1?password=hunter2",
    "MINIO_ACCESS_KEY": "hunter2",
    "MINIO_SECRET_KEY": " hunter2 ",
}


def test_no_secret_is_shown(home: Home) -> None:
    loaded = home.load(SECRETS)
    for text in (repr(loaded), str(loaded), f"{loaded.redis}", repr(loaded.storage), repr(describe(loaded))):
        assert "hunter2" not in text
    rows = {row.key: row for row in describe(loaded)}
    assert rows["redis.url"].value == "redis://user:***@h:6379/1?password=***"
    assert rows["storage.secret_key"].value == "***"
    assert environment(loaded)["MINIO_SECRET_KEY"] == " hunter2 "


def test_a_model_error_shows_no_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"redis": {"url": "http://:hunter2@h"}})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://user@h", "redis://user@h"),
        ("redis://:p@h", "redis://:***@h"),
        ("redis://u:p@q@h", "redis://u:***@h"),
        ("redis://u:p:q@h", "redis://u:***@h"),
        ("unix://u:p@/run/x.sock?db=1&password=x&y=2", "unix://u:***@/run/x.sock?db=1&password=***&y=2"),
        ("rediss://h?ssl_password=x", "rediss://h?ssl_password=***"),
    ],
)
def test_masked_url(url: str, masked: str) -> None:
    assert masked_url(url) == masked


def test_describe_has_every_setting_once_with_its_meaning(home: Home) -> None:
    loaded = home.write(BRIDGE, CONFIG).load(VARIABLES)
    rows = describe(loaded)
    assert [row.key for row in rows] == list(loaded.origins)
    assert all(row.description.endswith(".") for row in rows)
    assert {row.key: row.origin for row in rows} == loaded.origins
    assert len(environment(loaded)) == len(rows)


def test_a_child_process_gets_the_same_settings(home: Home) -> None:
    home.write(BRIDGE, {**CONFIG, "farm": {"keep_going": True, "scratch_dir": "/x y"}})
    loaded = home.load({**VARIABLES, **SECRETS}, overrides={"streams.data": "other"})
    child = load_settings({**VARIABLES, **environment(loaded)})
    assert plain(child) == plain(loaded)
    assert child.streams.data == "other"
