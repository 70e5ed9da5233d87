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

SCHEMAS_SHA256 = "3f214558b4c2934d6e7f5b038cfc962fdee6f233a6aa287b57d77d8bb1505b11"

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
