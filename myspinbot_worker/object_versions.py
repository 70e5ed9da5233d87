"""Which content an object has just now, as far as storage's headers tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .checksums import checksum_promised


@dataclass(frozen=True, slots=True)
class Version:
    """The content behind a key at one moment; an object that is overwritten gets another.

    Attributes:
        size: In bytes; ``None`` if the answer did not say.
        etag: As the server spells it, without quotes; empty if it gave none.
        algorithm: Of ``checksum``: ``sha256`` (what the upload left) or ``md5`` (an ETag that is one).
        checksum: In hexadecimal; ``None`` if nothing is promised of the content.
    """

    size: int | None
    etag: str
    algorithm: str
    checksum: str | None

    def is_also(self, other: Version) -> bool:
        """Whether both are the same content; a size that one of them does not know speaks for nothing."""
        sizes = {self.size, other.size} - {None}
        return len(sizes) < 2 and (self.etag, self.algorithm, self.checksum) == (
            other.etag,
            other.algorithm,
            other.checksum,
        )


def version_of(headers: Mapping[str, str]) -> Version:
    """Read the headers of a HEAD or GET."""
    algorithm, checksum = checksum_promised(headers)
    size = headers.get("content-length")
    return Version(int(size) if size else None, headers.get("etag", "").strip('"'), algorithm, checksum)
