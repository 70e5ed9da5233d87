"""Redis and object storage over TLS, with an authority of one's own; a wrong one is told in plain words.

The embedded Redis has no TLS, so its side is a relay that takes TLS off; the farm's side is the real thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from myspinbot_worker.embedded import EmbeddedRedis
from myspinbot_worker.errors import ConfigError, StorageError
from myspinbot_worker.storage import Storage, StorageConfig

from .command_line import run_in
from .conftest import farm_environment
from .harness import Farm, graph, node, wait_until
from .processes import Process
from .tls import Authority, EmbeddedTlsS3, tls_relay
from .tls import authority as authority
from .tls import stranger as stranger

BUCKETS = ("input", "staged", "output")


@pytest.fixture(scope="module")
def tls_s3(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[EmbeddedTlsS3]:
    with EmbeddedTlsS3(tmp_path_factory.mktemp("s3") / "data", authority, buckets=BUCKETS) as server:
        yield server


def storage_at(server: EmbeddedTlsS3, ca_file: Path | None, endpoint: str = "") -> Storage:
    return Storage(
        StorageConfig(
            endpoint or server.endpoint, server.access_key, server.secret_key, True, BUCKETS, ca_file=ca_file
        ),
        retries=0,
    )


def test_a_whole_farm_over_tls(
    redis_url: str, tls_s3: EmbeddedTlsS3, authority: Authority, tmp_path: Path
) -> None:
    database = redis_url.rpartition("/")[2]
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    with tls_relay(port, authority) as relayed:
        env = farm_environment(redis_url, tls_s3, tmp_path) | {
            "MINIO_ENDPOINT": f"https://127.0.0.1:{tls_s3.port}",
            "MINIO_USE_SSL": "true",
            "MINIO_CA_FILE": str(authority.ca),
        }
        url = f"rediss://127.0.0.1:{relayed}/{database}?ssl_ca_certs={authority.ca}"
        with Farm(env) as farm:
            farm.start_ingestor(REDIS_URL=url)
            farm.start_worker(REDIS_URL=url)
            job = farm.submit(
                graph([node("a", "test.artifact"), node("b", "dummy.dummy_task")], [("a", "b")])
            )
            back = farm.wait_back(job)
            assert {item["status"] for item in back["nodes"]} == {"completed"}
            assert back["nodes"][0]["output"]["text"] == "attempt 1"
            found = run_in({**env, "REDIS_URL": url}, "doctor")
            assert "✓ redis " in found.output
            assert "✓ storage" in found.output
            farm.wait_idle()
            farm.stop_all()


@pytest.mark.parametrize("known", [True, False])
def test_storage_that_a_stranger_vouches_for(tls_s3: EmbeddedTlsS3, stranger: Authority, known: bool) -> None:
    storage = storage_at(tls_s3, stranger.ca if known else None)
    with pytest.raises(StorageError, match=r"certificate .*is not trusted.*MINIO_CA_FILE") as caught:
        storage.check()
    assert not caught.value.retryable
    assert caught.value.details["reason"] == "untrusted_certificate"
    storage.close()


def test_a_certificate_for_another_name(tls_s3: EmbeddedTlsS3, authority: Authority) -> None:
    storage = storage_at(tls_s3, authority.ca, f"127.0.0.2:{tls_s3.port}")
    with pytest.raises(StorageError, match=r"not trusted|cannot check") as caught:
        storage.check()
    storage.close()
    assert tls_s3.secret_key not in str(caught.value)


def test_the_usual_variable_for_authorities(
    tls_s3: EmbeddedTlsS3, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    storage = storage_at(tls_s3, None)
    storage.check()
    storage.close()


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_that_holds_no_authority(tls_s3: EmbeddedTlsS3, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"storage\.ca_file .*ca\.pem cannot be used"):
        storage_at(tls_s3, path)


def test_plain_http_where_tls_was_asked_for(tls_s3: EmbeddedTlsS3, redis_server: EmbeddedRedis) -> None:
    storage = storage_at(tls_s3, None, f"127.0.0.1:{redis_server.port}")
    with pytest.raises(StorageError):
        storage.check()
    storage.close()


def test_redis_that_a_stranger_vouches_for(
    redis_server: EmbeddedRedis, authority: Authority, stranger: Authority, farm_env: dict[str, str]
) -> None:
    with tls_relay(redis_server.port, authority) as relayed:
        for suffix in (f"?ssl_ca_certs={stranger.ca}", ""):
            env = {**farm_env, "REDIS_URL": f"rediss://:hunter2hunter2@127.0.0.1:{relayed}/0{suffix}"}
            result = run_in(env, "jobs")
            assert result.exit_code == 1
            assert "certificate is not trusted" in result.stderr
            assert "ssl_ca_certs" in result.stderr
            assert "hunter2" not in result.output
            assert "certificate is not trusted" in run_in(env, "doctor").output


def test_an_authority_for_redis_that_is_not_there(
    farm_env: dict[str, str], redis_server: EmbeddedRedis
) -> None:
    env = {**farm_env, "REDIS_URL": f"rediss://127.0.0.1:{redis_server.port}/0?ssl_ca_certs=/nowhere/ca.pem"}
    result = run_in(env, "jobs")
    assert result.exit_code == 1
    assert "/nowhere/ca.pem" in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_an_ingestor_says_why_it_gets_nowhere(
    redis_server: EmbeddedRedis, authority: Authority, stranger: Authority, farm_env: dict[str, str]
) -> None:
    """It goes on trying: whoever renews the server's certificate need not start the farm again."""
    with tls_relay(redis_server.port, authority) as relayed:
        url = f"rediss://127.0.0.1:{relayed}/0?ssl_ca_certs={stranger.ca}"
        process = Process("ingestor", Farm.start_command("ingest"), {**farm_env, "REDIS_URL": url})
        process.wait_for("certificate verify failed")
        assert process.returncode is None
        assert process.stop() == 0
        wait_until(lambda: process.returncode is not None, "it ended")
