"""How a long video is cut into windows that are made one after the other. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """One window: ``length`` frames are made, of which the first ``overlap`` repeat the window before.

    Attributes:
        start: Index in the video of the first frame made.
        length: Frames made; 4n + 1, as the model's VAE wants it.
        overlap: Motion frames at its beginning; 0 in the first window.
        new: Frames after the overlap that are of use; what is made beyond them is thrown away.
    """

    index: int
    start: int
    length: int
    overlap: int
    new: int

    @property
    def first_new(self) -> int:
        """Index in the video of the first new frame."""
        return self.start + self.overlap

    @property
    def end(self) -> int:
        """Index in the video after the last new frame."""
        return self.first_new + self.new


def plan_windows(frames: int, window: int, motion: int) -> tuple[Window, ...]:
    """The windows of a video.

    Args:
        frames: Frames of the whole video; at least 1.
        window: Most frames made at a time; 4n + 1.
        motion: Frames by which a window overlaps the one before; at least 1 and less than ``window``.

    Raises:
        ValueError: The numbers do not fit.
    """
    if frames < 1:
        raise ValueError(f"a video of {frames} frames has no windows")
    if window < 5 or window % 4 != 1:
        raise ValueError(f"a window has 5, 9, 13, … frames (4n + 1), not {window}")
    if not 1 <= motion < window:
        raise ValueError(
            f"motion frames are from 1 to {window - 1} in a window of {window} frames, not {motion}"
        )
    planned: list[Window] = []
    done = 0
    while done < frames:
        overlap = motion if planned else 0
        length = min(window, _rounded_up(overlap + frames - done))
        new = min(length - overlap, frames - done)
        planned.append(Window(len(planned), done - overlap, length, overlap, new))
        done += new
    return tuple(planned)


def _rounded_up(frames: int) -> int:
    """The next 4n + 1, at least 5."""
    return max(5, -(-(frames - 1) // 4) * 4 + 1)
