"""The farm beside its rivals as a picture; needs matplotlib, of the dev extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .figures import Figure
from .stage import BenchmarkError

_PANELS = {
    "chain hop, ms a node": (("chain", "hop"), ("stock", "hop"), ("celery", "hop")),
    "idle pick-up, ms": (("pickup", "mark"), ("stock", "pickup"), ("celery", "pickup")),
    "a second, two workers": (
        ("throughput", "fan_2"), ("stock", "messages_2"), ("celery", "messages_2"),
    ),
}  # fmt: skip
_NAMES = ("farm", "Dramatiq", "Celery")


def plot(figures: Sequence[Figure], file: Path) -> None:
    """Draw medians with the range of the values.

    Raises:
        BenchmarkError: matplotlib is not installed, or nothing to compare was measured.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise BenchmarkError("matplotlib is not installed; it is part of the dev extra") from None
    known = {(figure.benchmark, figure.name): figure for figure in figures}
    panels = {title: places for title, places in _PANELS.items() if all(place in known for place in places)}
    if not panels:
        raise BenchmarkError("nothing to compare was measured")
    drawing, axes = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 3.2), squeeze=False)
    for axis, (title, places) in zip(axes[0], panels.items(), strict=True):
        measured = [known[place] for place in places]
        medians = [figure.median for figure in measured]
        spread = [
            [figure.median - min(figure.values) for figure in measured],
            [max(figure.values) - figure.median for figure in measured],
        ]
        axis.bar(_NAMES, medians, yerr=spread, capsize=4, color=("#2a9d8f", "#8d99ae", "#8d99ae"))
        axis.set_title(title)
    drawing.tight_layout()
    drawing.savefig(file, dpi=120)
    pyplot.close(drawing)
