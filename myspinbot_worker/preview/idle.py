"""What a head does while it speaks besides speaking: it sways a little, and it blinks."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Seconds. People blink every two to six seconds, for a fifth of one.
_BLINK = 0.22
_SHORTEST_GAP = 2.0
_LONGEST_GAP = 5.0

# Hertz of the sway's sines: without a common period in any video's length, so that it never repeats.
_SLOW, _MIDDLE, _QUICK = 0.13, 0.217, 0.391


@dataclass(frozen=True)
class IdleMotion:
    """Motion of a head, a value a video frame; the same in every run.

    Args:
        across: (frames,) Sway to the right, as a share of the picture's side.
        down: (frames,) Sway downwards, likewise.
        turn: (frames,) Tilt clockwise, radians.
        blink: (frames,) 0 eyes open to 1 closed.
    """

    across: NDArray[np.float32]
    down: NDArray[np.float32]
    turn: NDArray[np.float32]
    blink: NDArray[np.float32]


def idle_motion(frames: int, frame_rate: Fraction) -> IdleMotion:
    """The motion for a video of that many frames."""
    import numpy as np

    time = np.arange(frames) / float(frame_rate)

    def wave(hertz: float, phase: float) -> NDArray[np.float64]:
        return np.asarray(np.sin(2 * np.pi * hertz * time + phase))

    blink = np.zeros(frames)
    # A fixed seed: the same speech and portrait give the same video.
    random = Random(20)
    start = 1.3
    while frames and start < time[-1]:
        near = np.abs(time - start) < _BLINK / 2
        blink[near] = np.cos((time[near] - start) / _BLINK * np.pi) ** 2
        start += random.uniform(_SHORTEST_GAP, _LONGEST_GAP)
    return IdleMotion(
        across=(0.006 * wave(_SLOW, 0.0) + 0.003 * wave(_QUICK, 1.0)).astype(np.float32),
        down=(0.004 * wave(_MIDDLE, 2.0) + 0.002 * wave(_QUICK, 0.3)).astype(np.float32),
        turn=(0.012 * wave(_MIDDLE, 0.5) + 0.006 * wave(_SLOW, 2.2)).astype(np.float32),
        blink=blink.astype(np.float32),
    )
