"""Whether a file holds all the bytes that its own structure announces.

Decoders make the best of a file that was cut off; what it lacks is told by the sizes it was written with.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof"})

# Written by programs that cannot go back to the header: the size was not known.
_UNKNOWN = (0, 0xFFFFFFFF)


def missing_bytes(path: Path) -> int:
    """By how many bytes a WAV, AVI, MP4 or QuickTime file is shorter than it says; 0 for other formats.

    Raises:
        OSError: The file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head[:4] == b"RIFF" and len(head) == 8:
            (announced,) = struct.unpack("<I", head[4:])
            return 0 if announced in _UNKNOWN else max(0, announced + 8 - size)
        if head[4:8] in _BOXES:
            return max(0, _end_of_boxes(file, size) - size)
    return 0


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last of the file's boxes ends by its own account, perhaps beyond the end of the file."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length, _ = struct.unpack(">I4s", file.read(8))
        if length == 1 and at + 16 <= size:
            (length,) = struct.unpack(">Q", file.read(8))
        if length < 8:
            # Zero reaches to the end of the file; less is none of a box.
            return size
        at += length
    return at
