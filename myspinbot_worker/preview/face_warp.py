"""Moving a face in a still picture: jaw, lips, eyelids and head, by warping its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from myspinbot_worker.extras import packages_of
from myspinbot_worker.preview.face import Face

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Field = NDArray[np.float32]

# Landmarks of MediaPipe's face mesh, each contour from the picture's left to its right.
_UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_EYES = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
_FOREHEAD, _CHIN, _LEFT_EYE, _RIGHT_EYE = 10, 152, 33, 263

# Widest opening of the mouth, in heights of the face.
_WIDEST = 0.085

# Largest change of the mouth's width, as a share of it.
_SPREAD = 0.1

# The inside of a mouth, RGB.
_CAVITY = (44, 17, 19)


@dataclass(frozen=True)
class Pose:
    """How a face looks at one moment.

    Args:
        opening: The mouth: 0 as in the portrait to 1 wide open.
        width: The mouth: -1 rounded to 1 spread.
        blink: The eyes: 0 as in the portrait to 1 closed.
        across: The head's place to the right, as a share of the picture's side.
        down: The head's place downwards, likewise.
        turn: The head's tilt clockwise, radians.
    """

    opening: float = 0.0
    width: float = 0.0
    blink: float = 0.0
    across: float = 0.0
    down: float = 0.0
    turn: float = 0.0


class FaceWarp:
    """One face, ready to be shown in any pose.

    Works in the face's own axes: origin between the corners of the mouth, x along the line of the eyes, y
    down the face, in pixels; so a tilted head needs no special care.
    """

    def __init__(self, face: Face) -> None:
        with packages_of("preview"):
            import numpy as np

        self._image = face.image
        side = face.image.shape[0]
        points = face.landmarks
        along = points[_RIGHT_EYE] - points[_LEFT_EYE]
        self._x_axis = along / max(float(np.hypot(*along)), 1e-6)
        self._y_axis = np.array([-self._x_axis[1], self._x_axis[0]], np.float32)
        self._origin = (points[_UPPER_LIP[0]] + points[_UPPER_LIP[-1]]) / 2
        local = (points - self._origin) @ np.stack([self._x_axis, self._y_axis], axis=1)
        self._upper_lip = _contour(local, _UPPER_LIP)
        self._lower_lip = _contour(local, _LOWER_LIP)
        self._eyes = [(_contour(local, upper), _contour(local, lower)) for upper, lower in _EYES]
        self._half_mouth = max(float(local[_UPPER_LIP[-1], 0] - local[_UPPER_LIP[0], 0]) / 2, 1.0)
        self._chin = max(float(local[_CHIN, 1]), 1.0)
        self._height = max(float(local[_CHIN, 1] - local[_FOREHEAD, 1]), 1.0)
        self._neck = points[_CHIN]
        self._columns, self._rows = np.meshgrid(
            np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32)
        )
        # The picture's border stands still, so that swaying shows nothing from outside it.
        inwards = np.minimum(
            np.minimum(self._columns, side - 1 - self._columns), np.minimum(self._rows, side - 1 - self._rows)
        )
        self._moves = _smoothstep(inwards / (0.25 * side))

    def show(self, pose: Pose) -> NDArray[np.uint8]:
        """The face in a pose: (side, side, 3) RGB."""
        import cv2
        import numpy as np

        # Everything below answers one question: which pixel of the portrait is seen here?
        columns, rows = self._swayed(pose)
        x = (columns - self._origin[0]) * self._x_axis[0] + (rows - self._origin[1]) * self._x_axis[1]
        y = (columns - self._origin[0]) * self._y_axis[0] + (rows - self._origin[1]) * self._y_axis[1]
        dx = self._spread(x, y, pose.width)
        dy = self._blinked(x, y, pose.blink)
        fallen, cavity = self._opened(x + dx, y, pose.opening)
        dy -= fallen
        seen = cv2.remap(
            self._image,
            columns + dx * self._x_axis[0] + dy * self._y_axis[0],
            rows + dx * self._x_axis[1] + dy * self._y_axis[1],
            interpolation=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        covered = cavity[..., np.newaxis]
        mixed = seen * (1 - covered) + np.array(_CAVITY, np.float32) * covered
        return np.asarray(np.round(mixed), np.uint8)

    def _swayed(self, pose: Pose) -> tuple[Field, Field]:
        """Where each pixel was before the head moved: columns and rows."""
        side = self._image.shape[0]
        right, below = self._columns - self._neck[0], self._rows - self._neck[1]
        columns = self._columns - self._moves * (pose.across * side - pose.turn * below)
        rows = self._rows - self._moves * (pose.down * side + pose.turn * right)
        return columns, rows

    def _spread(self, x: Field, y: Field, width: float) -> Field:
        """How far to the side of ``x`` a wider or narrower mouth is looked up; fades around the mouth."""
        import numpy as np

        near = np.exp(-((x / (1.6 * self._half_mouth)) ** 2) - (y / (0.9 * self._half_mouth)) ** 2)
        return np.asarray(-_SPREAD * width * near * x, np.float32)

    def _opened(self, x: Field, y: Field, opening: float) -> tuple[Field, Field]:
        """How far the jaw has fallen at each pixel, and how much the mouth's inside covers it (0 to 1).

        The upper lip and what shows below it stay; from the lower lip down to the chin everything falls. The
        gap between them is the inside of the mouth.
        """
        import numpy as np

        wide = opening * _WIDEST * self._height
        lip = np.interp(x, *self._lower_lip).astype(np.float32)
        gap = wide * np.exp(-((x / (0.72 * self._half_mouth)) ** 4))
        jaw = wide * np.exp(-((x / (1.7 * self._half_mouth)) ** 4))
        below = (y - lip - gap) / np.maximum(self._chin - lip, 1.0)
        # Bent like the lips at the lips, like the jaw at the chin, and fading down the neck.
        towards_chin = _smoothstep(below)
        falls = (gap * (1 - towards_chin) + jaw * towards_chin) * (1 - _smoothstep((below - 1) / 0.7))
        fallen = np.clip(y - lip, 0, falls)
        cavity = np.clip(y - lip + 0.5, 0, 1) * np.clip(lip + gap - y + 0.5, 0, 1) * np.clip(gap - 0.3, 0, 1)
        return fallen, cavity

    def _blinked(self, x: Field, y: Field, blink: float) -> Field:
        """How far above ``y`` a lowered eyelid is looked up: the skin over the eye is stretched down."""
        import numpy as np

        lifted = np.zeros_like(y)
        if blink <= 0:
            return lifted
        for upper, lower in self._eyes:
            # Outside the corners both contours end in the same point: nothing moves there.
            lid = np.interp(x, *upper).astype(np.float32)
            floor = np.interp(x, *lower).astype(np.float32)
            lowered = lid + blink * np.maximum(floor - lid, 0)
            crease = lid - 0.06 * self._height
            inside = (y > crease) & (y < lowered)
            stretched = crease + (y - crease) * (lid - crease) / np.maximum(lowered - crease, 1e-3)
            lifted += np.where(inside, stretched - y, 0)
        return lifted


def _contour(local: Field, indices: tuple[int, ...]) -> tuple[Field, Field]:
    """A contour as x (growing) and y, for ``np.interp``."""
    import numpy as np

    points = local[list(indices)]
    # A head in half profile folds a contour back on itself; what is folded over is hidden anyway.
    return np.maximum.accumulate(points[:, 0]), points[:, 1]


def _smoothstep(values: Field) -> Field:
    """0 up to 0, 1 from 1, and an S between them."""
    import numpy as np

    bounded = np.clip(values, 0, 1)
    return np.asarray(bounded * bounded * (3 - 2 * bounded), np.float32)
