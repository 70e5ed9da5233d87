"""The device middleware: settles which GPU a worker process owns before anything imports torch."""

from __future__ import annotations

import logging

import dramatiq

from . import boot
from .broker import FarmBroker
from .completion import Completion
from .gpu import DeviceLease, claim_device, list_devices
from .settings import Settings

log = logging.getLogger(__name__)

GPU_QUEUE = "gpu"
GPU_MESSAGES = 2
"""Most GPU nodes a process holds: one on the device, one being fetched or uploaded."""


class DeviceOwner(dramatiq.Middleware):
    """Takes one device for a process that listens to the GPU queue, and sets how many messages it may hold."""

    def __init__(self, settings: Settings, completion: Completion) -> None:
        self._settings = settings
        self._completion = completion
        self.lease: DeviceLease | None = None

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        assert isinstance(broker, FarmBroker)
        threads = worker.worker_threads
        limits = {GPU_QUEUE: min(threads, GPU_MESSAGES)}
        if not worker.consumer_whitelist or GPU_QUEUE in worker.consumer_whitelist:
            farm = self._settings.farm
            with boot.or_exit("taking a device"):
                self.lease = claim_device(list_devices(farm.gpu_devices), farm.gpu_lock_dir)
            if self.lease is None:
                log.error(
                    "every device (%s) is taken by another process: this one leaves the gpu queue alone; "
                    "start no more processes than devices", farm.gpu_devices,
                )  # fmt: skip
                limits[GPU_QUEUE] = 0
            else:
                self._completion.device = self.lease.device
                self._completion.gpu_lanes = limits[GPU_QUEUE]
                log.info("device: %s (CUDA_VISIBLE_DEVICES=%s)", self.lease.device, self.lease.visible)
        broker.slots.configure(threads, limits)
