"""Cutting a frame into overlapping tiles, so that memory does not grow with the frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """One tile, in pixels of the source frame: ``core`` is kept of the result, ``seen`` is what goes in.

    Args:
        core: Left, top, right, bottom of the pixels that this tile is responsible for.
        seen: The core and a margin around it, cut at the frame's border.
    """

    core: tuple[int, int, int, int]
    seen: tuple[int, int, int, int]


def cut(width: int, height: int, side: int, margin: int) -> Iterator[Tile]:
    """Cut a frame into tiles of nearly equal size whose cores cover it exactly once.

    Args:
        side: Largest width and height of a core.
        margin: Pixels of surroundings a tile sees.
    """
    for top, bottom in _spans(height, side):
        for left, right in _spans(width, side):
            yield Tile(
                core=(left, top, right, bottom),
                seen=(
                    max(0, left - margin),
                    max(0, top - margin),
                    min(width, right + margin),
                    min(height, bottom + margin),
                ),
            )


def _spans(length: int, side: int) -> Iterator[tuple[int, int]]:
    """Cut ``length`` into as few nearly equal spans of at most ``side`` as there can be."""
    count = -(-length // side)
    for index in range(count):
        yield index * length // count, (index + 1) * length // count
