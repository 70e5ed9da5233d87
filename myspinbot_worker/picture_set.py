"""Pictures to train on: files by themselves or in a ZIP archive, each with a caption."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from .errors import BadInput

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
MOST_PICTURES = 500
_MOST_PICTURE_BYTES = 64 << 20
_MOST_CAPTION_BYTES = 10_000
_CHUNK = 1 << 20


def unpack(archive: Path, folder: Path) -> list[tuple[Path, str]]:
    """Take the pictures out of a ZIP archive, in order of their names, each with the text beside it or "".

    Nothing is written under a name of the archive's, and nothing larger than the limits is unpacked.

    Raises:
        BadInput: It is no ZIP archive, holds no pictures, too many or too large ones.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return _unpack(opened, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise BadInput(f"the archive of pictures cannot be read: {error}") from None


def _unpack(opened: zipfile.ZipFile, folder: Path) -> list[tuple[Path, str]]:
    entries = {PurePosixPath(info.filename): info for info in opened.infolist() if not info.is_dir()}
    # What macOS puts beside each file is no picture.
    names = sorted(
        name for name in entries if name.suffix.lower() in PICTURES and not name.name.startswith("._")
    )
    if not names:
        raise BadInput("the archive of pictures holds none: PNG, JPEG and WebP are taken")
    if len(names) > MOST_PICTURES:
        raise BadInput(f"the archive holds {len(names)} pictures, at most {MOST_PICTURES} are taken")
    found = []
    for number, name in enumerate(names):
        path = folder / f"picture-{number:04d}{name.suffix.lower()}"
        _extract(opened, entries[name], path, _MOST_PICTURE_BYTES)
        caption = ""
        if (beside := entries.get(name.with_suffix(".txt"))) is not None:
            text = folder / "caption.txt"
            _extract(opened, beside, text, _MOST_CAPTION_BYTES)
            caption = text.read_text(encoding="utf-8", errors="replace").strip()
        found.append((path, caption))
    return found


def _extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, most: int) -> None:
    left = most
    with opened.open(info) as source, path.open("wb") as target:
        # What the archive says of a size may be a lie.
        while data := source.read(_CHUNK):
            left -= len(data)
            if left < 0:
                raise BadInput(
                    f"{PurePosixPath(info.filename).name!r} in the archive has more than {most} bytes"
                )
            target.write(data)


def captioned(
    pictures: Sequence[tuple[Path, str]], captions: Sequence[str], trigger: str
) -> list[tuple[Path, str]]:
    """The pictures with the captions given for them, each after the trigger word.

    Args:
        captions: One for each picture, or none.

    Raises:
        BadInput: There are more or fewer captions than pictures.
    """
    if captions and len(captions) != len(pictures):
        raise BadInput(f"params.captions has {len(captions)} entries for {len(pictures)} pictures")
    told = captions or [caption for _, caption in pictures]
    return [
        (path, ", ".join(part for part in (trigger.strip(), caption.strip()) if part))
        for (path, _), caption in zip(pictures, told, strict=True)
    ]


def gathered(files: Sequence[Path], folder: Path) -> list[tuple[Path, str]]:
    """Pictures of files, archives among them unpacked.

    Raises:
        BadInput: As of :func:`unpack`; or there are too many, or none.
    """
    found: list[tuple[Path, str]] = []
    for number, path in enumerate(files):
        if zipfile.is_zipfile(path):
            inner = folder / f"archive-{number}"
            inner.mkdir()
            found += unpack(path, inner)
        elif path.suffix.lower() in PICTURES:
            found.append((path, ""))
        else:
            raise BadInput(f"params.images[{number}] is neither PNG, JPEG, WebP nor a ZIP archive of them")
    if not found:
        raise BadInput("params.images is empty: there is nothing to train on")
    if len(found) > MOST_PICTURES:
        raise BadInput(f"there are {len(found)} pictures, at most {MOST_PICTURES} are taken")
    return found
