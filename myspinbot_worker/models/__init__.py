# Generated from schemas/ by scripts/generate_models.py; do not edit.
# datamodel-code-generator 0.89.0

"""The wire contract as Pydantic models, one module a document."""

from .artifact import Artifact
from .capability_manifest import CapabilityManifest
from .data_update import DataUpdate
from .langgraph_v1 import LanggraphWorkflow
from .progress_update import ProgressUpdate
from .redis_bridge import RedisBridge
from .status_update import StatusUpdate
from .stream_entry import StreamEntry
from .upload_result import UploadResult
from .worker_config import WorkerConfig

SCHEMAS_SHA256 = "eb8a4e28ce0c70f87dec4e8a1ae0d3c8c66e968f0bcec535306d0720720d2013"

__all__ = [
    "Artifact",
    "CapabilityManifest",
    "DataUpdate",
    "LanggraphWorkflow",
    "ProgressUpdate",
    "RedisBridge",
    "SCHEMAS_SHA256",
    "StatusUpdate",
    "StreamEntry",
    "UploadResult",
    "WorkerConfig",
]
