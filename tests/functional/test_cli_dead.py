"""``dead``: refused entries and failed nodes are listed by their error, shown, retried and dropped, each once."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import redis

from myspinbot_worker.admission import read_entry
from myspinbot_worker.cli.setup import Setup
from myspinbot_worker.repair.fingerprint import fingerprint
from tests.functional.command_line import Run, one_line, run_in
from tests.functional.command_line import cli as cli
from tests.functional.harness import Farm, graph, node, wait_until
from tests.functional.test_cli_retry import failed_graph

BAD = "graph.nodes[{}].id: Field required"
BAD_FINGERPRINT = fingerprint("bad_entry", BAD.format(3))


def plant_letter(
    client: Any, job: str = "j", code: str = "bad_entry", reason: str = BAD.format(3), **fields: str
) -> str:
    """A dead letter as reject.lua leaves it; by default its entry is a good one by now."""
    text = json.dumps(graph([node("a", plane="node")], job=job))
    own = {"jobId": job, "created": "1700000000000", "graph": text, **fields}
    flat = [part for pair in own.items() for part in pair]
    entry = client.execute_command(
        "XADD", "farm:dead", "*", "entry", "9-9", "code", code, "reason", reason, *flat
    )
    return str(entry)


def plant_failure(client: Any, job: str, entry: str = "5-5", verdict: str = "failed") -> str:
    """A visit that failed; the failed node's id."""
    client.hset(f"job:{job}", mapping={"graph": json.dumps(failed_graph(job)), "created": "1"})
    reason = "node 'b' failed: internal: told to fail"
    client.xadd(
        "farm:history", {"job": job, "entry": entry, "verdict": verdict, "nodes": "3", "reason": reason}
    )
    return f"{entry}.1"


def listed(cli: Run, *arguments: str) -> list[dict[str, Any]]:
    found = json.loads(cli("dead", "list", "--json", *arguments).stdout)
    return list(found["troubles" if "--ungrouped" in arguments else "groups"])


# On a real farm.


def test_an_entry_that_was_too_large_is_sent_again_when_it_no_longer_is(farm: Farm) -> None:
    ingestor = farm.start_ingestor(FARM_MAX_NODES="2")
    job = farm.submit(graph([node(name, "script", "node") for name in "abc"]))
    farm.wait_status(job, "failed")
    (group,) = listed(lambda *arguments: run_in(farm.env, *arguments))
    assert (group["count"], group["code"], group["example"]["jobId"]) == (1, "bad_entry", job)
    refused = run_in({**farm.env, "FARM_MAX_NODES": "2"}, "dead", "retry", group["fingerprint"])
    assert refused.exit_code == 1
    assert "it would be refused: graph.nodes has 3 nodes" in refused.stderr
    ingestor.stop()
    farm.start_ingestor()
    assert run_in(farm.env, "dead", "retry", group["fingerprint"]).exit_code == 0
    assert len(farm.wait_back(job)["nodes"]) == 3
    assert farm.dead_letters() == []


def test_two_hundred_jobs_are_retried_at_one_word(farm: Farm) -> None:
    farm.start_ingestor()
    farm.start_worker(threads=4)
    jobs = [
        farm.submit(graph([node("a"), node("b", "test.fail", params={"times": 1})], [("a", "b")]))
        for _ in range(200)
    ]
    wait_until(lambda: farm.client.xlen(farm.keys.history) == 200, "all jobs failed")
    farm.wait_idle()
    farm.progress.clear()
    cli: Run = lambda *arguments: run_in(farm.env, *arguments)  # noqa: E731
    (group,) = listed(cli)
    assert (group["count"], group["kind"], group["code"]) == (200, "node", "internal")
    told = json.loads(cli("dead", "retry", group["fingerprint"], "--json").stdout)
    assert told["counts"] == {"sent": 200}
    again = json.loads(cli("dead", "retry", *[one["id"] for one in told["outcomes"]], "--json").stdout)
    assert again["counts"] == {"already": 200}
    for job in jobs:
        assert [item["status"] for item in farm.wait_back(job)["nodes"]] == ["completed"] * 2
        assert farm.client.llen(f"test:inputs:{job}:a") == 1
    farm.wait_idle()
    assert {len(back) for back in farm.handed_back.values()} == {1}
    assert listed(cli) == []


# On a Redis alone.


def test_an_empty_desk(cli: Run) -> None:
    assert json.loads(cli("dead", "list", "--json").stdout) == {"total": 0, "groups": []}
    assert cli("dead", "list").stdout == "error\tkind\tcode\tcount\tnewest\texample\tmessage\n"
    assert cli("dead", "retry", "--all").stdout == "retried: 0\n"
    assert cli("dead", "drop", "--all").stdout == "dropped: 0\n"


def test_errors_that_differ_in_numbers_are_one_error(cli: Run, text_client: Any) -> None:
    ids = [plant_letter(text_client, f"j{i}", reason=BAD.format(i)) for i in range(3)]
    other = plant_letter(text_client, "k", "duplicate", "the same entry was taken before")
    groups = listed(cli)
    assert [(group["code"], group["count"]) for group in groups] == [("duplicate", 1), ("bad_entry", 3)]
    assert groups[1]["fingerprint"] == BAD_FINGERPRINT
    assert groups[1]["message"] == "graph.nodes[<n>].id: Field required"
    assert groups[1]["example"]["id"] == ids[-1]
    assert [one["id"] for one in listed(cli, "--ungrouped")] == [other, *reversed(ids)]
    assert len(listed(cli, "--ungrouped", "--limit", "1")) == 1
    plain = cli("dead", "list", "--limit", "1")
    assert plain.stdout.splitlines()[1].split("\t")[1:4] == ["entry", "duplicate", "1"]
    assert plain.stderr == "… and 1 more (--limit)\n"
    assert cli("dead", "list", "--ungrouped").stdout.count("\tbad_entry\t") == 3


def test_letters_over_many_pages(cli: Run, text_client: Any) -> None:
    ids = [plant_letter(text_client, f"j{i}", reason=BAD.format(i)) for i in range(250)]
    assert [one["id"] for one in listed(cli, "--ungrouped", "--limit", "999")] == ids[::-1]


def test_nodes_are_listed_while_they_want_attention(cli: Run, text_client: Any) -> None:
    plant_failure(text_client, "old", "1-1")
    text_client.xadd("farm:history", {"job": "old", "entry": "2-2", "verdict": "completed"})
    plant_failure(text_client, "cancelled", "3-3", "cancelled")
    plant_failure(text_client, "open", "4-4")
    text_client.hset("farm:run:open", "entry", "9-9")
    wanted = plant_failure(text_client, "j", "6-6")
    plant_failure(text_client, "strange", "7-7")
    text_client.hset("job:strange", "graph", '{"no": "graph"}')
    plant_failure(text_client, "gone", "8-8")
    text_client.delete("job:gone")
    gone, here = listed(cli, "--ungrouped")
    assert (here["id"], here["jobId"], here["node"], here["code"]) == (wanted, "j", "b", "internal")
    assert (here["kind"], here["service"], here["message"]) == ("node", "test.echo", "told to fail")
    assert (gone["id"], gone["jobId"], gone["node"], gone["retryable"]) == ("8-8.gone", "gone", "b", False)
    assert gone["fingerprint"] == here["fingerprint"]
    assert listed(cli, "--kind", "entry") == []
    assert "no snapshot any more" not in cli("dead", "retry", wanted).output
    assert cli("dead", "retry", "8-8.gone").exit_code == 1


def test_letters_and_nodes_are_shown(cli: Run, text_client: Any) -> None:
    letter = plant_letter(text_client, "j", extra="x" * 5000, code="bad_entry")
    failed = plant_failure(text_client, "k")
    shown = json.loads(cli("dead", "show", letter, "--json").stdout)
    assert shown["fields"]["created"] == "1700000000000"
    assert len(shown["fields"]["extra"]) == 5000
    assert "… (5000 characters)" in cli("dead", "show", letter).stdout
    shown = json.loads(cli("dead", "show", failed, "--json").stdout)
    assert (shown["node"], json.loads(shown["params"])) == ("b", {"k": 1})
    assert "error\t{" in cli("dead", "show", failed).stdout
    whole = json.loads(cli("dead", "show", BAD_FINGERPRINT, "--json").stdout)
    assert (whole["count"], whole["ids"]) == (1, [letter])
    assert f"ids\t{letter}\n" in cli("dead", "show", BAD_FINGERPRINT).stdout
    assert "there is no dead letter" in one_line(cli("dead", "show", "1-1"), 3)


def test_a_letter_is_sent_once(cli: Run, text_client: Any) -> None:
    letter = plant_letter(text_client, "j", extra="kept")
    before = text_client.xrange("farm:dead")[0][1]
    told = cli("dead", "retry", letter)
    ((entry, fields),) = text_client.xrange("process:data")
    assert told.stdout == f"{letter} of job j retried as entry {entry}\nretried: 1\n"
    assert fields == {name: before[name] for name in ("jobId", "created", "graph", "extra")}
    assert text_client.xlen("farm:dead") == 0
    again = cli("dead", "retry", letter)
    assert again.exit_code == 0
    assert again.stderr == f"{letter} was retried or dropped before\n"
    assert again.stdout == "retried: 0, retried or dropped before, nothing done: 1\n"
    assert cli("dead", "drop", letter).stdout == "dropped: 0, retried or dropped before, nothing done: 1\n"
    assert text_client.xlen("process:data") == 1


def test_the_oldest_are_sent_first(cli: Run, text_client: Any) -> None:
    jobs = [f"j{i}" for i in range(30)]
    for job in jobs:
        plant_letter(text_client, job)
    told = cli("dead", "retry", "--all").stdout
    assert told.endswith("… and 10 more\nretried: 30\n")
    assert [fields["jobId"] for _, fields in text_client.xrange("process:data")] == jobs


def test_of_several_that_send_a_letter_at_once_one_does(redis_url: str, text_client: Any) -> None:
    letter = plant_letter(text_client)
    ready = threading.Barrier(4)
    told: list[str] = []

    def resend() -> None:
        letters = Setup(redis_url).desk.letters
        ready.wait()
        told.append(letters.resend(letter).what)

    threads = [threading.Thread(target=resend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["already"] * 3 + ["sent"]
    assert text_client.xlen("process:data") == 1


def test_an_entry_the_farm_knows_gets_a_new_created(cli: Run, text_client: Any) -> None:
    plain = plant_letter(text_client, "j", "duplicate", "the same entry was taken before")
    fields = text_client.xrange("farm:dead")[0][1]
    known = read_entry("1-1", {name.encode(): value.encode() for name, value in fields.items()}).fingerprint[
        1
    ]
    text_client.sadd("farm:seen:j", known)
    assert cli("dead", "retry", "--all").stdout == "retried: 0\n", "duplicates are not among all"
    assert 'with a new "created"' in cli("dead", "retry", plain).stdout
    sent = text_client.xrange("process:data")[0][1]
    assert sent["graph"] == fields["graph"]
    assert int(sent["created"]) > int(fields["created"])


def test_an_entry_whose_graph_runs_now_stays(cli: Run, text_client: Any) -> None:
    letter = plant_letter(text_client)
    fields = text_client.xrange("farm:dead")[0][1]
    digest = read_entry("1-1", {name.encode(): value.encode() for name, value in fields.items()}).fingerprint[
        0
    ]
    text_client.hset("farm:run:j", mapping={"entry": "1-1", "digest": digest})
    refused = cli("dead", "retry", letter)
    assert refused.exit_code == 1
    assert "its job runs the same graph now" in refused.stderr
    assert text_client.xlen("farm:dead") == 1


def test_an_entry_that_would_be_refused_again(cli: Run, text_client: Any) -> None:
    letter = plant_letter(text_client, graph="{}")
    refused = cli("dead", "retry", letter)
    assert refused.exit_code == 1
    assert "it would be refused: graph.schema: Field required" in refused.stderr
    assert not text_client.exists("process:data")
    corrected = json.dumps(graph([node("a")], job="j"))
    assert "graph" in cli("dead", "retry", "--all", "--graph", "-", given="{}").stderr
    assert cli("dead", "retry", letter, "--graph", "-", given="{").exit_code == 1
    assert cli("dead", "retry", letter, "--graph", "-", given=corrected).exit_code == 0
    assert text_client.xrange("process:data")[0][1]["graph"] == corrected
    forced = plant_letter(text_client, graph="{}")
    assert cli("dead", "retry", forced, "--force").exit_code == 0
    assert text_client.xrevrange("process:data")[0][1]["graph"] == "{}"


def test_fields_that_are_called_as_the_farms_own(cli: Run, text_client: Any) -> None:
    letter = plant_letter(text_client, "j", reason_="", reason=BAD.format(1))
    text_client.delete("farm:dead")
    flat = ["jobId", "j", "code", "mine", "reason", "mine too", "graph", "{}"]
    letter = text_client.execute_command(
        "XADD", "farm:dead", "*", "entry", "9-9", "code", "bad_entry", "reason", "farm's", *flat
    )
    (one,) = listed(cli, "--ungrouped")
    assert (one["code"], one["message"]) == ("bad_entry", "farm's")
    assert cli("dead", "retry", letter, "--force").exit_code == 0
    assert text_client.xrange("process:data")[0][1] == dict(zip(flat[::2], flat[1::2], strict=True))


def test_bytes_that_are_no_text(cli: Run, redis_url: str, text_client: Any) -> None:
    letter = text_client.execute_command(
        "XADD", "farm:dead", "*", "entry", "9-9", "code", "bad_entry", "reason", "r", b"\xff", b"\xfe"
    )
    assert cli("dead", "show", letter).exit_code == 0
    assert cli("dead", "retry", letter, "--force").exit_code == 0
    with redis.Redis.from_url(redis_url) as binary:
        assert binary.xrange("process:data")[0][1] == {b"\xff": b"\xfe"}


def test_a_letter_without_fields(cli: Run, text_client: Any) -> None:
    letter = text_client.xadd("farm:dead", {"entry": "9-9", "code": "bad_entry", "reason": "no field jobId"})
    assert "the entry was gone before the farm read it" in cli("dead", "retry", letter, "--force").stderr
    assert text_client.xlen("farm:dead") == 1


def test_dropped_letters_and_nodes(cli: Run, text_client: Any) -> None:
    letters = [plant_letter(text_client, f"j{i}") for i in range(30)]
    failed = plant_failure(text_client, "k")
    assert cli("dead", "drop", failed).stdout == f"{failed} dropped\ndropped: 1\n"
    assert [one["kind"] for one in listed(cli)] == ["entry"]
    assert text_client.exists("job:k", "farm:history") == 2
    assert "already" in json.dumps(json.loads(cli("dead", "drop", failed, "--json").stdout))
    assert "--yes" in cli("dead", "drop", "--all").stderr
    dropped = cli("dead", "drop", BAD_FINGERPRINT, letters[0])
    assert dropped.stdout.endswith("… and 10 more\ndropped: 30\n")
    assert text_client.xlen("farm:dead") == 0
    assert text_client.zcard("farm:handled") == 31


def test_what_was_handled_is_kept_within_bounds(farm_env: dict[str, str], text_client: Any) -> None:
    env = {**farm_env, "FARM_DEAD_LETTERS_KEPT": "2", "FARM_HISTORY_KEPT": "3"}
    for i in range(9):
        plant_letter(text_client, f"j{i}")
    assert run_in(env, "dead", "drop", "--all", "--yes").exit_code == 0
    assert text_client.zcard("farm:handled") == 5


def test_two_failed_nodes_of_a_job_are_one_retry(cli: Run, text_client: Any) -> None:
    plant_failure(text_client, "j")
    both = failed_graph("j")
    both["nodes"].append({**both["nodes"][1], "id": "d"})
    text_client.hset("job:j", "graph", json.dumps(both))
    told = json.loads(cli("dead", "retry", "--all", "--json").stdout)
    assert {one["id"]: one["outcome"] for one in told["outcomes"]} == {"5-5.1": "sent", "5-5.3": "sent"}
    assert len({one["entry"] for one in told["outcomes"]}) == 1
    assert text_client.xlen("process:data") == 1
    assert cli("dead", "retry", "5-5.3").stdout == "retried: 0, retried or dropped before, nothing done: 1\n"


@pytest.mark.parametrize("command", ["retry", "drop", "show"])
def test_wrong_names(cli: Run, command: str) -> None:
    for name in ("", "nope", "1", "1-", "zzzzzzzz", "1-1.x", "\udcff"):
        result = cli("dead", command, name)
        assert result.exit_code == 2, name
        assert "nor a fingerprint" in result.stderr.replace("\n", " ")
    for name in ("1-1", "1-1.7", "00000000"):
        assert cli("dead", command, name).exit_code == 3, name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Usage:"),
        (["nope"], "No such command"),
        (["list", "extra"], "unexpected extra argument"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--kind", "job"], "--kind"),
        (["retry"], "name ids or fingerprints, or say --all"),
        (["retry", "1-1", "--all"], "name ids or fingerprints, or say --all"),
        (["drop"], "name ids or fingerprints, or say --all"),
        (["retry", "--all", "--graph", "/no/such/file"], "No such file"),
    ],
)
def test_wrong_usage(cli: Run, arguments: list[str], words: str) -> None:
    result = cli("dead", *arguments)
    assert result.exit_code == 2
    assert words in result.output


@pytest.mark.parametrize("command", ["list", "show", "retry", "drop"])
def test_every_command_explains_itself(cli: Run, command: str) -> None:
    told = cli("dead", command, "--help").stdout
    assert f"myspinbot-worker dead {command}" in told
    assert "Example:\n" in told
    assert "--json" in told
