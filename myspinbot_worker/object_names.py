"""Names of objects: usable keys, paths as a node's params hold them, media types by suffix."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from .errors import BadInput

MAX_KEY_BYTES = 1024
"""S3's limit of a key's length in UTF-8."""

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What the machine's own tables call these differs from system to system.
_MEDIA_TYPES = {
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mkv": "video/x-matroska",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".safetensors": "application/octet-stream",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}


def check_key(key: str, name: str = "key") -> str:
    """Return ``key`` if it is a usable object key.

    Stricter than S3 where MinIO is: an empty segment (``a//b``, a leading or a trailing slash) is refused.

    Args:
        key: The object key.
        name: What to call it in the error.

    Raises:
        BadInput: The key is empty, too long, or holds segments or characters that could lead elsewhere.
    """
    if not key:
        raise BadInput(f"{name} is empty")
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise BadInput(f"{name} is not valid Unicode") from None
    if length > MAX_KEY_BYTES:
        raise BadInput(f"{name} is {length} bytes long, the limit is {MAX_KEY_BYTES}")
    if _CONTROL_CHARACTERS.search(key):
        raise BadInput(f"{name} {key!r} holds control characters")
    segments = key.split("/")
    if "" in segments:
        raise BadInput(f"{name} {key!r} starts or ends with a slash, or has two in a row")
    if "." in segments or ".." in segments:
        raise BadInput(f"{name} {key!r} has a '.' or '..' segment")
    return key


def parse_path(path: object, name: str = "path") -> tuple[str, str]:
    """Split ``"bucket/key"`` as it comes in a node's params.

    Args:
        path: The value of the field.
        name: The field's name, for the error.

    Raises:
        BadInput: The value is not a string of a bucket, a slash and a usable key.
    """
    if not isinstance(path, str):
        raise BadInput(f'{name} must be text of the form "bucket/key", not {type(path).__name__}')
    bucket, slash, key = path.partition("/")
    if not bucket:
        raise BadInput(f'{name} {path!r} names no bucket; it must be "bucket/key" without a leading slash')
    if not slash or not key:
        raise BadInput(f'{name} {path!r} names no key; it must be "bucket/key"')
    return bucket, check_key(key, f"the key in {name}")


def guess_content_type(name: str) -> str:
    """Return the media type a file's name suggests, ``application/octet-stream`` if none."""
    known = _MEDIA_TYPES.get(Path(name).suffix.lower())
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"
