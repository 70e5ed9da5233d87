"""Loading a portrait that a stranger uploaded: upright, RGB, of bounded size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from myspinbot_worker.errors import BadMedia
from myspinbot_worker.extras import packages_of
from myspinbot_worker.media_limits import media_limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

# Pillow knows fifty formats, among them one that starts Ghostscript; portraits come in these.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

# What shows through a transparent portrait.
_BACKGROUND = (127, 127, 127)


def load_portrait(path: Path) -> NDArray[np.uint8]:
    """Load a picture as it is meant to be seen.

    Returns:
        (height, width, 3) RGB, turned as its EXIF data says, transparency over grey; of an animation, the
        first picture.

    Raises:
        BadMedia: The file is no picture, broken, or of more than ``farm.max_image_pixels``.
        OSError: The file cannot be read.
    """
    with packages_of("preview"):
        import numpy as np
        from PIL import Image, ImageOps

    with path.open("rb") as file:
        try:
            with Image.open(file, formats=_FORMATS) as picture:
                # Known from the header: a small file can unpack to gigabytes.
                media_limits().check_size("portrait", picture.width, picture.height)
                return np.asarray(_flat(ImageOps.exif_transpose(picture)), np.uint8)
        except BadMedia:
            raise
        except Image.DecompressionBombError as error:
            most = media_limits().image_pixels
            raise BadMedia(f"portrait has more pixels than the {most} of farm.max_image_pixels") from error
        except Exception as error:
            # Pillow's decoders raise what they meet: OSError, SyntaxError, struct.error, zlib.error and more.
            raise BadMedia(
                f"portrait cannot be decoded: {error}",
                details={"file": path.name, "type": type(error).__name__},
            ) from error


def _flat(picture: Image.Image) -> Image.Image:
    """Any of Pillow's pixel modes as RGB."""
    from PIL import Image

    if picture.mode.startswith("I;16"):
        # Pillow clips 16 bit to 8 instead of scaling it.
        picture = picture.convert("I")
    if picture.mode == "I":
        return picture.point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (*_BACKGROUND, 255)), layer).convert("RGB")
    return picture.convert("RGB")
