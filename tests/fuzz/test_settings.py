"""Configuration files and the environment: settings or a ``ConfigError``, which shows no secret."""

from __future__ import annotations

from pathlib import Path
from random import Random

from myspinbot_worker.config import describe, environment, load_settings
from myspinbot_worker.errors import ConfigError
from myspinbot_worker.farm import secrets_of
from myspinbot_worker.settings import Settings

from .bounds import in_memory, in_time, peak
from .mutations import corpus, damaged_document, damaged_text, lines, randoms

FILES, VARIABLES = 1_000, 1_000
BRIDGES, CONFIGS = corpus("bridge"), corpus("config")
KNOWN = lines("environment.txt")


def check(environ: dict[str, str]) -> bool:
    """Whether these settings were taken; what they and their refusal say must be fit for a terminal."""
    try:
        loaded = load_settings(environ)
    except ConfigError as error:
        refused = error
    else:
        return fit(loaded)
    assert refused.details["problems"]
    assert "hunter2" not in refused.message
    refused.message.encode()
    return False


def fit(loaded: Settings) -> bool:
    for row in describe(loaded):
        row.value.encode()
    assert load_settings(environment(loaded)).model_dump() == loaded.model_dump()
    secrets_of(loaded)
    repr(loaded).encode()
    return True


def write(folder: Path, random: Random) -> int:
    bridge, config = damaged_document(random, BRIDGES), damaged_document(random, CONFIGS)
    folder.joinpath("redis.bridge.json").write_bytes(bridge if random.random() < 0.6 else BRIDGES[0])
    folder.joinpath("config.json").write_bytes(config if random.random() < 0.6 else CONFIGS[1])
    return len(bridge) + len(config)


def damaged_variables(random: Random) -> dict[str, str]:
    """A few variables, damaged in name or value; half characters stand for bytes that are no text."""
    found = {}
    for _ in range(random.choice((1, 1, 3))):
        line = random.choice(KNOWN)
        if random.random() < 0.8:
            line = damaged_text(random, [line])
        name, _, value = line.partition("=")
        # The operating system passes on neither of these.
        found[name.replace("\0", "") or "X"] = value.replace("\0", "")
    return found


def test_damaged_files(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    taken = 0
    with in_memory():
        for random in randoms("files", FILES):
            write(folder, random)
            with in_time():
                taken += check({"WORKER_HOME": str(tmp_path)})
    assert FILES / 50 < taken < FILES / 2


def test_damaged_variables() -> None:
    taken = 0
    with in_memory():
        for random in randoms("variables", VARIABLES):
            environ = damaged_variables(random)
            with in_time():
                taken += check({"WORKER_HOME": "/nowhere", **environ})
    assert VARIABLES / 20 < taken < VARIABLES * 0.9


def test_what_files_cost(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    Settings()
    for random in randoms("files", FILES // 20):
        size = write(folder, random)
        assert peak(lambda: check({"WORKER_HOME": str(tmp_path)})) < 2_000_000 + 200 * size


def test_a_file_full_of_unknown_keys(tmp_path: Path) -> None:
    """Each gets a suggestion, which costs; no more are told than somebody reads."""
    folder = tmp_path / "config"
    folder.mkdir()
    keys = ",".join(f'"server_port_{number}": 1' for number in range(50_000))
    folder.joinpath("config.json").write_text("{" + keys + "}")
    with in_memory(), in_time(5):
        assert not check({"WORKER_HOME": str(tmp_path)})
