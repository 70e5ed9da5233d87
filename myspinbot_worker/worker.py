"""A Dramatiq worker of the farm: the deliberate middleware stack, and one actor per capability.

Of Dramatiq's own middleware none is used: retries, time limits and results are the run's business (see
:mod:`.completion`), and its Prometheus exposition forks a process of its own.
"""

from __future__ import annotations

import dramatiq

from .capability import Registry, registry
from .completion import Completion
from .config import Settings
from .devices import DeviceOwner
from .farm import Farm
from .metrics import WorkerMetrics, new_registry
from .metrics_server import MetricsServer


def build_worker(settings: Settings, capabilities: Registry = registry) -> Farm:
    """The farm as a worker sees it: its broker has the middleware and an actor for every capability."""
    metrics = WorkerMetrics(new_registry())
    farm = Farm(settings, registry=capabilities)
    completion = Completion(farm, metrics)
    for middleware in (
        DeviceOwner(settings, completion),
        completion,
        MetricsServer(settings.farm.metrics_host, settings.farm.metrics_port, metrics.registry),
    ):
        farm.broker.add_middleware(middleware)
    for item in capabilities:
        _declare_actor(farm.broker, item.id, item.queue, completion)
    return farm


def _declare_actor(broker: dramatiq.Broker, service: str, queue: str, completion: Completion) -> None:
    def run(ref: str, token: int, node_id: str) -> None:
        completion.run(service)

    run.__doc__ = f"Runs nodes of {service}."
    dramatiq.actor(actor_name=service, queue_name=queue, broker=broker)(run)
