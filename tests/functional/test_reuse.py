"""Results that are used again, in a farm of real processes: what it saves, and that it never takes the wrong one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from myspinbot_worker.config import load_settings
from myspinbot_worker.errors import ArtifactCorrupt, ArtifactMissing
from myspinbot_worker.farm import storage_of
from myspinbot_worker.reuse_attempt import NewMemo
from myspinbot_worker.reuse_index import ReuseIndex
from myspinbot_worker.storage import Storage
from tests.functional.harness import Farm, graph, node

OWN: dict[str, Any] = {
    "FARM_ACTOR_MODULES": "tests.functional.reusing_capabilities",
    "FARM_REUSE_RESULTS": "true",
}


@pytest.fixture
def storage(farm: Farm) -> Iterator[Storage]:
    """With one object to read, that no other test writes to."""
    made = storage_of(load_settings(farm.env))
    made.upload_bytes(b"a face", "input", "reuse/face.png")
    yield made
    made.remove_prefix("input", "reuse")
    made.close()


@pytest.fixture
def reusing(farm: Farm, storage: Storage) -> Farm:
    farm.start_ingestor(**OWN)
    farm.start_worker(**OWN)
    return farm


def render(farm: Farm, given: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    """The node as it came back."""
    wanted = {"source": "input/reuse/face.png", "seed": 1, **params}
    more: dict[str, Any] = {"input": given} if given else {}
    nodes = [node("a", "test.render", params=wanted, progressWeight=0.5, **more)]
    done: dict[str, Any] = farm.wait_back(farm.submit(graph(nodes)))["nodes"][0]
    assert done["status"] == "completed", done
    return done


def rendered(farm: Farm) -> int:
    return int(farm.client.get("test:rendered") or 0)


def text_of(storage: Storage, done: dict[str, Any], farm: Farm) -> str:
    kept = done["output"]["picture"]
    target = farm.scratch_folder / "read"
    return storage.download(kept["bucket"], kept["key"], target, expected_size=kept["size_bytes"]).read_text()


def test_a_repeated_job_takes_no_device_and_has_objects_of_its_own(reusing: Farm, storage: Storage) -> None:
    first = render(reusing, seconds=1.5)
    storage.upload_bytes(b"a face", "input", "reuse/copy.png")
    second = render(reusing, {"currentProgress": 0.25}, seconds=1.5, source="input/reuse/copy.png")
    assert rendered(reusing) == 1
    one, other = first["output"]["picture"], second["output"]["picture"]
    assert one["key"] != other["key"]
    assert other["key"].endswith("/frames/picture.txt")
    assert other["size_bytes"] == one["size_bytes"]
    assert second["output"]["currentProgress"] == 0.75
    assert "telemetry" not in first
    told = second["telemetry"]["reused"]
    assert set(told) == {"job", "node", "at"}
    assert one["key"].startswith(f"{told['job']}/{told['node']}/")
    # Cleaning one job breaks no other.
    storage.remove(one["bucket"], one["key"])
    assert text_of(storage, second, reusing) == "a face by 1"
    storage.upload_bytes(b"a face by 1", one["bucket"], one["key"])


def test_other_seeds_params_and_contents_are_other_results(reusing: Farm, storage: Storage) -> None:
    render(reusing)
    assert text_of(storage, render(reusing, seed=2), reusing) == "a face by 2"
    storage.upload_bytes(b"another", "input", "reuse/face.png")
    assert text_of(storage, render(reusing), reusing) == "another by 1"
    for count in (4, 5):
        render(reusing, seed=None)
        assert rendered(reusing) == count, "a result of chance was used again"
    clip = storage.upload_bytes(b"clip", "staged", "reuse-clip/x.txt").model_dump()
    assert text_of(storage, render(reusing, {"clip": clip}), reusing) == "another+clip by 1"
    assert "reused" in render(reusing, {"clip": clip})["telemetry"]
    assert rendered(reusing) == 6
    storage.remove_prefix("staged", "reuse-clip")


def test_the_nodes_own_telemetry_is_kept(reusing: Farm) -> None:
    render(reusing)
    again = node("a", "test.render", params={"source": "input/reuse/face.png", "seed": 1},
                 telemetry={"trace": [], "n": 1.0})  # fmt: skip
    job = reusing.submit(graph([again]))
    reusing.wait_back(job)
    assert '"telemetry":{"trace":[],"n":1.0,"reused":{' in reusing.raw_hand_backs[job][0].replace(": ", ":")


@pytest.mark.parametrize("loss", ["removed", "replaced", "garbled memo", "forgotten"])
def test_what_is_gone_is_made_again(reusing: Farm, storage: Storage, loss: str) -> None:
    first = render(reusing)["output"]["picture"]
    (memo,) = reusing.client.keys(reusing.keys.memo("*"))
    match loss:
        case "removed":
            storage.remove(first["bucket"], first["key"])
        case "replaced":
            storage.upload_bytes(b"x" * first["size_bytes"], first["bucket"], first["key"])
        case "garbled memo":
            reusing.client.set(memo, '{"job": 1}')
        case "forgotten":
            reusing.client.delete(memo, reusing.keys.memos)
    again = render(reusing)
    assert rendered(reusing) == 2
    assert "telemetry" not in again
    assert text_of(storage, again, reusing) == "a face by 1"
    assert "reused" in render(reusing)["telemetry"], "the new result did not take the old one's place"
    if loss == "removed":
        storage.upload_bytes(b"a face by 1", first["bucket"], first["key"])


def test_an_object_named_in_any_text_counts(reusing: Farm, storage: Storage) -> None:
    storage.upload_bytes(b"more", "input", "reuse/more")
    for _ in ("once", "and again"):
        render(reusing, besides="input/reuse/more")
        assert rendered(reusing) == 1
    storage.upload_bytes(b"less", "input", "reuse/more")
    assert text_of(storage, render(reusing, besides="input/reuse/more"), reusing) == "a face+less by 1"


def test_what_reads_more_than_its_fingerprint_holds_is_not_kept(reusing: Farm, storage: Storage) -> None:
    storage.upload_bytes(b"more", "input", "reuse/more")
    for count in (1, 2):
        render(reusing, hidden=["input", "reuse", "more"])
        assert rendered(reusing) == count


def test_it_is_off_unless_it_is_asked_for(farm: Farm, storage: Storage) -> None:
    own = {**OWN, "FARM_REUSE_RESULTS": "false"}
    farm.start_ingestor(**own)
    farm.start_worker(**own)
    for count in (1, 2):
        render(farm)
        assert rendered(farm) == count
    assert not farm.client.keys(farm.keys.memo("*"))


def test_the_index_is_bounded_by_number_and_by_age(farm: Farm) -> None:
    index = ReuseIndex(farm.client, farm.keys, 100, 3)
    for number in range(5):
        farm.client.zadd(farm.keys.memos, {str(number - 1): number}) if number else None
        index.remember(NewMemo(str(number), json.dumps(number)))
    assert [index.find(str(number)) for number in range(5)][-1] == "4"
    assert farm.client.zcard(farm.keys.memos) <= 3
    assert len(farm.client.keys(farm.keys.memo("*"))) <= 3
    assert 0 < farm.client.ttl(farm.keys.memo("4")) <= 100
    assert 0 < farm.client.ttl(farm.keys.memos) <= 100


def test_a_copy_is_of_the_version_that_was_meant(storage: Storage) -> None:
    version = storage.version("input", "reuse/face.png")
    assert storage.copy("input", "reuse/face.png", version, "reuse/other.png").size_bytes == 6
    assert storage.version("input", "reuse/other.png").is_also(version)
    storage.upload_bytes(b"a fate", "input", "reuse/face.png")
    with pytest.raises(ArtifactCorrupt, match="replaced"):
        storage.copy("input", "reuse/face.png", version, "reuse/third.png")
    with pytest.raises(ArtifactMissing):
        storage.version("input", "reuse/third.png")
