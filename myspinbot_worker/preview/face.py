"""Finding the face in a portrait, and cutting out a square around its head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from myspinbot_worker.errors import NoFaceFound
from myspinbot_worker.extras import packages_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The detector scales everything down anyway; this only bounds what it is handed.
_LARGEST_SIDE = 1280

# Side of the square around the head, in heights of the face (forehead to chin).
_MARGIN = 1.9


@dataclass(frozen=True)
class Face:
    """A square picture of one head.

    Args:
        image: (side, side, 3) RGB.
        landmarks: (478, 2) x and y in pixels of ``image``, as MediaPipe's face mesh numbers them.
    """

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


def cut_face(portrait: NDArray[np.uint8], size: int) -> Face:
    """Find the largest face of a portrait and cut out its head.

    Args:
        portrait: (height, width, 3) RGB.
        size: Side of the cut, pixels.

    Raises:
        NoFaceFound: The portrait shows no face.
    """
    with packages_of("preview"):
        import cv2
        import numpy as np

    landmarks = find_landmarks(portrait)
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    height, width, _ = portrait.shape
    side = round(_MARGIN * float((high - low).max()))
    # Rather a tighter cut than an invented border, as long as the face itself fits.
    side = max(min(side, height, width), round(1.15 * float((high - low).max())), 2)
    # The face's centre a little above the square's, for there are shoulders below.
    centre = (low + high) / 2 + np.array([0.0, 0.03 * side])
    left = _inside(round(float(centre[0]) - side / 2), side, width)
    top = _inside(round(float(centre[1]) - side / 2), side, height)
    border = max(0, -left, -top, left + side - width, top + side - height)
    padded = cv2.copyMakeBorder(portrait, border, border, border, border, cv2.BORDER_REPLICATE)
    square = padded[top + border : top + border + side, left + border : left + border + side]
    scale = size / side
    image = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return Face(
        image=np.asarray(image, np.uint8),
        landmarks=((landmarks - np.array([left, top])) * scale).astype(np.float32),
    )


def find_landmarks(portrait: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The landmarks of the largest face: (478, 2) x and y in pixels of ``portrait``, (height, width, 3) RGB.

    Raises:
        NoFaceFound: The portrait shows no face.
    """
    with packages_of("preview"):
        import cv2
        import numpy as np

    height, width, _ = portrait.shape
    shrink = min(1.0, _LARGEST_SIDE / max(height, width))
    image = portrait
    if shrink < 1:
        smaller = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image = np.asarray(cv2.resize(portrait, smaller, interpolation=cv2.INTER_AREA), np.uint8)
    found = _mesh(image)
    if found is None:
        # The mesh's own detector is for selfies; this one finds small faces, and the mesh then sees a crop.
        box = _distant_face(image)
        if box is not None:
            left, top, right, bottom = box
            found = _mesh(np.ascontiguousarray(image[top:bottom, left:right]))
            if found is not None:
                found = found + np.array([left, top], np.float32)
    if found is None:
        raise NoFaceFound("portrait shows no face")
    return np.asarray(found * np.array([width / image.shape[1], height / image.shape[0]]), np.float32)


def _mesh(image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """Landmarks of the largest face in pixels of ``image``, or nothing."""
    with packages_of("preview"):
        import numpy as np
        from mediapipe.python.solutions.face_mesh import FaceMesh

    height, width, _ = image.shape
    with FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=4) as mesh:
        faces = mesh.process(image).multi_face_landmarks or ()
    meshes = [
        np.array([(point.x * width, point.y * height) for point in face.landmark], np.float32)
        for face in faces
    ]
    if not meshes:
        return None
    sizes = [float(np.prod(np.ptp(points, axis=0))) for points in meshes]
    return meshes[sizes.index(max(sizes))]


def _distant_face(image: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """A generous box (left, top, right, bottom; pixels) around the surest small face, or nothing."""
    with packages_of("preview"):
        from mediapipe.python.solutions.face_detection import FaceDetection

    height, width, _ = image.shape
    with FaceDetection(model_selection=1, min_detection_confidence=0.6) as detector:
        faces = detector.process(image).detections or ()
    if not faces:
        return None
    box = max(faces, key=lambda face: face.score[0]).location_data.relative_bounding_box
    reach = max(box.width * width, box.height * height)
    x, y = (box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height
    left, top = max(0, round(x - reach)), max(0, round(y - reach))
    right, bottom = min(width, round(x + reach)), min(height, round(y + reach))
    return (left, top, right, bottom) if right - left > 1 and bottom - top > 1 else None


def _inside(start: int, side: int, length: int) -> int:
    """Move a span of ``side`` into ``length``; one that is too long is centred."""
    return (length - side) // 2 if side > length else min(max(start, 0), length - side)
