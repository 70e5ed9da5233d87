"""How loud a sound is, told from its samples as they pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from av.audio.frame import AudioFrame
    from numpy.typing import NDArray

FLOOR_DB = -120.0
"""What digital silence is said to have, dBFS: a number, where a logarithm has none."""

SILENT_DB = -60.0
"""Peak (dBFS) below which a sound counts as silent: dither and a codec's rounding lie far below, quiet speech above."""


class Loudness:
    """Peak and mean level of a sound, over all its channels; takes no more memory for a longer one."""

    def __init__(self) -> None:
        self._peak = 0.0
        self._squares = 0.0
        self._values = 0

    def hear(self, frame: AudioFrame) -> None:
        """Take one decoded frame into account."""
        import numpy as np

        values = _full_scale(frame.to_ndarray())
        if values.size:
            self._peak = max(self._peak, float(np.max(np.abs(values))))
            self._squares += float(np.sum(np.square(values)))
            self._values += values.size

    @property
    def peak_db(self) -> float:
        """The loudest sample, dBFS."""
        return _decibels(self._peak)

    @property
    def rms_db(self) -> float:
        """The root mean square of all samples, dBFS (a full-scale square wave has 0)."""
        return _decibels(math.sqrt(self._squares / self._values)) if self._values else FLOOR_DB

    @property
    def silent(self) -> bool:
        return self.peak_db < SILENT_DB


def _full_scale(samples: NDArray[np.generic]) -> NDArray[np.float64]:
    """Samples of any format with full scale at 1."""
    import numpy as np

    values = samples.astype(np.float64)
    if samples.dtype == np.uint8:
        return np.asarray((values - 128) / 128)
    if np.issubdtype(samples.dtype, np.integer):
        return np.asarray(values / 2.0 ** (8 * samples.dtype.itemsize - 1))
    # Floats can hold what is no number; it cannot be heard.
    return np.asarray(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))


def _decibels(amplitude: float) -> float:
    return max(FLOOR_DB, 20 * math.log10(amplitude)) if amplitude > 0 else FLOOR_DB
