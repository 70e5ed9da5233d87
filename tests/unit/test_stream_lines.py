"""A line of output is read as a fraction: bars, steps, percentages, and what FFmpeg says."""

from __future__ import annotations

import pytest

from myspinbot_worker.stream_adapter import parse_ffmpeg, parse_fraction


@pytest.mark.parametrize(
    ("line", "fraction"),
    [
        (" 45%|████▌     | 45/100 [00:03<00:04, 12.1it/s]", 0.45),
        ("Sampling:  33%|███▎      | 1/3 [00:03<00:04]", 1 / 3),
        ("weights:  50%|█████     | 1.2G/2.4G [00:03<00:04]", 0.5),
        ("100%|██████████| 8/8 [00:00<00:00]", 1.0),
        ("12/100 [00:03<00:20]", 0.12),
        ("step 3/20", 0.15),
        ("[3/20] compiling", 0.15),
        ("3 / 20", 0.15),
        ("done 45%", 0.45),
        ("12.5 % of it", 0.125),
        ("0/7", 0.0),
        ("epoch 1/10, step 3/4", 0.1),
        ("17/4", None),
        ("1/0", None),
        ("250%", None),
        ("2024/05/06 started", None),
        ("/data/1/2/file", None),
        ("25/1.5", None),
        ("12it [00:03, 4.0it/s]", None),
        ("v1.2%", None),
        ("nothing", None),
    ],
)
def test_a_line_is_read(line: str, fraction: float | None) -> None:
    assert parse_fraction(line) == fraction


@pytest.mark.parametrize(
    ("line", "fraction"),
    [
        ("out_time_us=2500000", 0.25),
        ("out_time_ms=2500000", 0.25),
        ("out_time=00:00:02.500000", 0.25),
        ("frame=  60 fps= 30 q=28.0 size=     256KiB time=00:00:02.50 bitrate= 839.0kbits/s speed=1x", 0.25),
        ("out_time_us=99000000", 1.0),
        ("progress=end", 1.0),
        ("progress=continue", None),
        ("out_time_us=N/A", None),
        ("out_time=-577014:32:22.77", None),
        ("[libx264] mb I  I16..4: 12.1% 80.2%  7.8%", None),
    ],
)
def test_a_line_of_ffmpeg_is_read(line: str, fraction: float | None) -> None:
    assert parse_ffmpeg(line, 10.0) == fraction


def test_ffmpeg_without_a_length_only_ends() -> None:
    assert parse_ffmpeg("out_time_us=2500000", 0.0) is None
    assert parse_ffmpeg("progress=end", 0.0) == 1.0
