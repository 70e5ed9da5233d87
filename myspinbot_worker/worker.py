"""A Dramatiq worker of the farm: the deliberate middleware stack, and one actor per capability.

Of Dramatiq's own middleware none is used: retries, time limits and results are the run's business (see
:mod:`.completion`), and its Prometheus exposition forks a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import dramatiq

from .capability import Registry, registry
from .completion import Completion, finisher
from .devices import DeviceOwner
from .farm import Farm
from .metrics import WorkerMetrics, new_registry
from .metrics_server import MetricsServer
from .runner_pool import START_SECONDS, RunnerPool
from .settings import Settings
from .supervision import Lanes


def build_worker(
    settings: Settings,
    capabilities: Registry = registry,
    make_lanes: Callable[[int], Lanes] | None = None,
    make_finisher: Callable[[], ThreadPoolExecutor | None] = finisher,
) -> Farm:
    """The farm as a worker sees it: its broker has the middleware and an actor for every capability.

    Args:
        make_lanes: Where attempts run, for a number of GPU attempts at one time.
        make_finisher: See :class:`.completion.Completion`.
    """
    metrics = WorkerMetrics(new_registry())
    farm = Farm(settings, registry=capabilities)
    # A runner for GPU services boots ComfyUI, where that does their work.
    start_seconds = START_SECONDS + settings.comfyui.boot_seconds
    lanes = make_lanes or (lambda count: RunnerPool(count, start_seconds))
    completion = Completion(farm, metrics, lanes, make_finisher)
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
