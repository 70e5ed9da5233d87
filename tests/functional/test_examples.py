"""The examples run as their readers would run them."""

from __future__ import annotations

from .harness import Farm, graph, node


def test_subtitles(farm: Farm) -> None:
    from myspinbot_worker.storage import Storage, StorageConfig

    farm.start_ingestor(FARM_ACTOR_MODULES="examples.subtitles")
    farm.start_worker(FARM_ACTOR_MODULES="examples.subtitles")
    text = "one two three four five six seven eight"
    sent = graph(
        [
            node("script", "script", "node", output={"narration": text}) | {"status": "completed"},
            node("subtitles", "text.subtitles", params={"wordsPerMinute": 60}),
            node("wrong", "text.subtitles", params={"wordsPerMinute": 0}),
            node("rescue", "dummy.dummy_task"),
        ],
        [("script", "subtitles"), ("script", "wrong"), ("wrong", "rescue", "on_failure")],
    )
    job = farm.submit(sent)
    farm.wait_status(job, "completed")
    farm.wait_idle()
    _, done, wrong, _ = farm.snapshot(job)["nodes"]
    assert wrong["error"]["code"] == "bad_params"
    assert "params.wordsPerMinute" in wrong["error"]["message"]
    artifact = done["output"]["subtitles"]
    env = farm.env
    storage = Storage(
        StorageConfig(
            env["MINIO_ENDPOINT"], env["MINIO_ACCESS_KEY"], env["MINIO_SECRET_KEY"], False, ("output",)
        )
    )
    assert artifact["key"].startswith(f"{job}/subtitles/")
    assert artifact["key"].endswith("/1/subtitles.srt")
    assert storage.stat("output", artifact["key"]).content_type == "application/x-subrip"
    found = storage.download_to_local_path(
        f"output/{artifact['key']}", farm.scratch_folder / "found"
    ).read_text()
    assert found == (
        "1\n00:00:00,000 --> 00:00:07,000\none two three four five six seven\n\n"
        "2\n00:00:07,000 --> 00:00:08,000\neight\n\n"
    )
