"""Prometheus is given the file that scrapes the farm where it listens."""

from __future__ import annotations

from myspinbot_worker.config import load_settings
from tests.unit.deploy_files import SERVICES, WORKERS, container_environment, mounts, read_yaml


def test_prometheus_scrapes_the_services_where_they_listen() -> None:
    jobs = {job["job_name"]: job for job in read_yaml("deploy/prometheus.yml")["scrape_configs"]}
    assert set(jobs) == {"ingestor", "workers"}

    server = load_settings(container_environment(SERVICES["ingestor"])).server
    (static,) = jobs["ingestor"]["static_configs"]
    assert static["targets"] == [f"ingestor:{server.port}"]

    (dns,) = jobs["workers"]["dns_sd_configs"]
    assert set(dns["names"]) == set(WORKERS)
    assert dns["type"] == "A"
    for service in WORKERS.values():
        assert load_settings(container_environment(service)).farm.metrics_port == dns["port"]


def test_prometheus_reads_the_file_that_is_mounted() -> None:
    assert ("./deploy/prometheus.yml", "/etc/prometheus/prometheus.yml") in mounts(SERVICES["prometheus"])
