"""Any input gives settings or a ``ConfigError``, nothing else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from myspinbot_worker.config import environment, load_settings
from myspinbot_worker.errors import ConfigError
from myspinbot_worker.models import RedisBridge, WorkerConfig
from myspinbot_worker.settings import Settings
from tests.unit.config_home import Home, plain

WORDS = st.sampled_from(
    [
        *("url", "streams", "data", "control", "group", "batch_size", "channels", "jobs", "ttl", "planning"),
        *("pipelines", "server", "host", "port", "farm", "lease_seconds", "keep_going", "engine"),
    ]
)
SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["redis://h", "preview", 16, 0.5, "~", "~\0", "\0"])
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(), inner, max_size=5),
    max_leaves=12,
)


@given(bridge=DOCUMENTS, config=DOCUMENTS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_json_gives_settings_or_a_config_error(bridge: Any, config: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder, "home")).write(json.dumps(bridge), json.dumps(config))
        try:
            loaded = home.load()
        except ConfigError as error:
            str(error).encode()
        else:
            assert plain(load_settings(environment(loaded))) == plain(loaded)
            RedisBridge.model_validate(bridge, strict=True)
            WorkerConfig.model_validate(config, strict=True)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_give_settings_or_a_config_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder, "home"))
        home.config.joinpath("config.json").write_bytes(content)
        try:
            home.load()
        except ConfigError as error:
            str(error).encode()


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(
    st.dictionaries(
        st.sampled_from([*sorted(environment(Settings()).keys() - {"WORKER_HOME"}), "FARM_X"]),
        TEXTS,
        max_size=4,
    )
)
def test_any_variables_give_settings_or_a_config_error(variables: dict[str, str]) -> None:
    try:
        loaded = load_settings({**variables, "WORKER_HOME": "/nowhere"})
    except ConfigError as error:
        str(error).encode()
    else:
        assert plain(load_settings(environment(loaded))) == plain(loaded)
