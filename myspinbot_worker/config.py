"""The farm's settings as they are loaded, shown, and handed on to child processes.

Layers, later ones win: defaults, ``redis.bridge.json`` and ``config.json`` in ``$WORKER_HOME/config``, the
environment, the command line. Every setting has an environment variable; the two files hold what the
platform already puts there. What a file or variable says wrongly is reported, all of it at once.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError

from .config_sources import (
    BRIDGE_FILE,
    CONFIG_FILE,
    Given,
    from_environment,
    from_file,
    from_overrides,
    read_file,
)
from .config_values import masked_url
from .errors import ConfigError
from .redaction import redact
from .settings import Settings, declared


def load_settings(
    environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read all layers.

    Args:
        environ: The environment; default: this process's.
        overrides: Values from the command line by dotted key (``farm.lease_seconds``); None: not given.

    Raises:
        ConfigError: Something is unknown or malformed. ``details["problems"]`` lists every problem, each
            with its key, its origin and what was expected, and without secrets.
    """
    problems: list[str] = []
    known = declared()
    variables = {entry.source.env_name(key): key for key, entry in known.items()}
    given = from_environment(os.environ if environ is None else environ, variables, problems)
    given |= from_overrides(overrides or {}, known, problems)
    # worker_home first: it says where the files are.
    values = _checked({key: value for key, value in given.items() if key == "worker_home"}, problems)
    given = _from_files(values.get("worker_home", Path.cwd()) / "config", problems) | given
    _settle_tls(given, problems)
    values |= _checked({key: value for key, value in given.items() if key != "worker_home"}, problems)
    if not problems:
        settings = Settings.model_validate(_nested(values))
        settings._origins.update({key: value.origin for key, value in given.items()})
        if settings.streams.data != settings.streams.control:
            return settings
        problems.append("streams.data and streams.control: expected two different streams")
    count = f"{len(problems)} problems in the configuration:\n- " if len(problems) > 1 else ""
    raise ConfigError(count + "\n- ".join(problems), details={"problems": problems})


def _from_files(folder: Path, problems: list[str]) -> dict[str, Given]:
    bridge_keys = {entry.source.bridge: key for key, entry in declared().items() if entry.source.bridge}
    config_keys = {entry.source.config: key for key, entry in declared().items() if entry.source.config}
    bridge = read_file(folder / BRIDGE_FILE, problems)
    # The planner's own section: the farm only sees to it that the file is not garbled there.
    planning = bridge.pop("planning", {})
    pipelines = planning.get("pipelines", {}) if isinstance(planning, dict) else {}
    for name, value in (("planning", planning), ("planning.pipelines", pipelines)):
        if not isinstance(value, dict):
            problems.append(f"{folder / BRIDGE_FILE}: {name}: expected an object")
    config = read_file(folder / CONFIG_FILE, problems)
    in_bridge = dict.fromkeys(bridge_keys, BRIDGE_FILE)
    in_config = dict.fromkeys(config_keys, CONFIG_FILE)
    return from_file(bridge, folder / BRIDGE_FILE, bridge_keys, in_config, problems) | from_file(
        config, folder / CONFIG_FILE, config_keys, in_bridge, problems
    )


def _settle_tls(given: dict[str, Given], problems: list[str]) -> None:
    """Take the scheme off the endpoint; it decides ``use_ssl`` unless that is given too."""
    endpoint = given.get("storage.endpoint")
    if endpoint is None or not isinstance(endpoint.raw, str):
        return
    scheme, separator, rest = endpoint.raw.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return
    given["storage.endpoint"] = endpoint._replace(raw=rest.removesuffix("/"))
    tls = scheme.lower() == "https"
    said = given.setdefault("storage.use_ssl", endpoint._replace(raw=tls))
    # A malformed use_ssl is reported with all other values.
    if _checked({"storage.use_ssl": said}, []).get("storage.use_ssl", tls) != tls:
        problems.append(f"storage.use_ssl ({said.place}) contradicts {scheme}:// in {endpoint.place}")


def _checked(given: Mapping[str, Given], problems: list[str]) -> dict[str, Any]:
    """Typed values; what does not fit goes to ``problems``."""
    values: dict[str, Any] = {}
    for key, value in given.items():
        _, source, adapter = declared()[key]
        raw = value.raw
        try:
            if isinstance(raw, str) and not _is_text(raw):
                problems.append(f"{key} ({value.place}): expected UTF-8")
            elif value.typed:
                values[key] = adapter.validate_json(json.dumps(_flat(raw)), strict=True)
            else:
                values[key] = adapter.validate_python(raw)
        except ValidationError as error:
            expected = dict.fromkeys(_plain(item["msg"]) for item in error.errors(include_url=False))
            # A secret may stand in the wrong place.
            got = "" if source.secret else f", got {reprlib.repr(redact(raw))}"
            problems.append(f"{key} ({value.place}): {'; '.join(expected)}{got}")
    return values


def _is_text(value: str) -> bool:
    """Whether it can be written down: bytes of the environment that are no UTF-8 arrive as half characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flat(raw: Any) -> Any:
    """``raw`` with nothing nested in it: no setting is deeper than a list, and what is would exhaust the encoder."""
    if isinstance(raw, list) and not any(isinstance(item, dict | list) for item in raw):
        return raw
    return {} if isinstance(raw, dict | list) else raw


def _plain(message: str) -> str:
    """Pydantic's message as ``expected …``."""
    message = message.removeprefix("Value error, ").replace("Input should be ", "expected ")
    message = re.sub(r"^expected (greater|less)", r"expected a number \1", message)
    message = message.replace("String should match pattern", "expected text that matches")
    message = message.replace("String should have", "expected text of")
    return message.partition(", unable to ")[0]


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        group, separator, name = key.partition(".")
        if separator:
            nested.setdefault(group, {})[name] = value
        else:
            nested[group] = value
    return nested


class Row(NamedTuple):
    """One setting for an operator to read."""

    key: str
    value: str
    """As an environment variable would hold it, secrets as ``***``."""
    origin: str
    description: str


def describe(settings: Settings) -> list[Row]:
    """Every setting with its value, its origin and its meaning, secrets masked."""
    rows = []
    for key, (info, _, _) in declared().items():
        value = _value(settings, key)
        text = ("***" if value else "") if isinstance(value, SecretStr) else _text(key, value)
        if key.endswith(".url"):
            text = masked_url(text)
        rows.append(Row(key, text, settings.origins[key], info.description or ""))
    return rows


def environment(settings: Settings) -> dict[str, str]:
    """The variables that give a child process these settings, whatever its files say.

    Holds the secrets in plain text. A setting without a value is the empty string, which counts as not set.
    """
    return {
        entry.source.env_name(key): _text(key, _value(settings, key)) for key, entry in declared().items()
    }


def _value(settings: Settings, key: str) -> Any:
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _text(key: str, value: Any) -> str:
    """``value`` as an environment variable holds it."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return shlex.join(value) if key == "comfyui.arguments" else ",".join(map(str, value))
    return str(value)
