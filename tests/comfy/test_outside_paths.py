"""Paths out of ComfyUI's folders are refused, and no text is taken for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.comfy.engine import InputFile
from myspinbot_worker.comfy.outside_paths import outside, outside_paths
from tests.comfy.catalogs import CATALOG
from tests.comfy.prompts import node
from tests.unit.examples import many

OUTSIDE = [
    "/etc/passwd",
    "/x",
    "\\\\server\\share\\x",
    "\\x",
    "C:\\x.png",
    "c:x",
    "D:/x",
    "~/x",
    "~",
    "~root/x",
    "../x",
    "a/../../x",
    "a\\..\\x",
    "..",
    " /x",
    "a/ .. /b",
    "file:///etc/passwd",
    "https://example.org/x.png",
    "x.png [output]",
    "x [temp]",
    "a\0b",
]
INSIDE = [
    "x.png",
    "video/ComfyUI",
    "a.b/c..d/e",
    "sub\\model.safetensors",
    "%date:yyyy-MM-dd%/x",
    "~x~.png",
    "",
    "a b (1).png",
    "...",
    "x [3]",
]

TEXTS = [
    "/imagine a cat",
    "~ 3 apples",
    "a/b testing",
    "5/10",
    "either/or",
    "C: the musical",
    "../ is how one goes up",
    "http://a cat",
    "/r pics",
    "and then... / or",
    "[output] of a machine",
    "1girl, /\\/\\, \\(artist\\)",
    "/imagine",
]


def found(class_type: str, catalog: bool = True, **inputs: Any) -> list[str]:
    return [
        one.input for one in outside_paths({"1": node(class_type, **inputs)}, CATALOG if catalog else None)
    ]


@pytest.mark.parametrize("value", OUTSIDE)
def test_out_of_a_folder(value: str) -> None:
    assert outside(value)
    assert found("SaveImage", filename_prefix=value) == ["filename_prefix"]
    assert found("LoadImage", image=value) == ["image"]
    assert found("VHS_LoadImagesPath", directory=value) == ["directory"]
    assert found("Unknown", catalog=False, audio_file=value) == ["audio_file"]
    assert found("Unknown", catalog=False, outputPath={"a": [value]}) == ["outputPath"]


@pytest.mark.parametrize("value", INSIDE)
def test_inside(value: str) -> None:
    assert outside(value) is None
    assert found("SaveImage", filename_prefix=value) == []


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_left_alone(text: str) -> None:
    assert found("CLIPTextEncode", text=text) == []
    assert found("Unknown", text=text, positive_prompt=text, prompt_prefix=text, catalog=False) == []
    assert found("Unknown", value=text, string_a=text) == []


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "~/.ssh/id_rsa", "C:\\Users\\x", "../../secrets", "\\\\server\\x", "file:///etc/passwd"],
)
def test_what_can_only_be_a_path_is_one_under_any_name(path: str) -> None:
    assert found("Unknown", image=path) == ["image"]
    assert found("CLIPTextEncode", text=path) == []


def test_every_line_of_a_list_of_files() -> None:
    assert found("Unknown", file_paths="a.png\n../b.png") == ["file_paths"]
    assert found("Unknown", file_paths="a.png\nb.png") == []


def test_files_of_the_attempt_lie_where_they_lie() -> None:
    assert found("LoadImage", image=InputFile(Path("/scratch/x.png"))) == []


def test_an_address_where_one_belongs() -> None:
    assert found("Unknown", url="http://127.0.0.1:11434", base_url="https://x.y/z") == []


def test_links_are_no_paths() -> None:
    assert found("SaveImage", filename_prefix=["../1", 0]) == []
    assert found("SaveImage", filename_prefix=["../1", "0"]) == ["filename_prefix"]


@many
@given(st.text(max_size=30), st.sampled_from(["filename_prefix", "folder", "ckpt_name"]))
def test_what_is_not_refused_stays_below_its_folder(value: str, name: str) -> None:
    if outside(value) is None and "\0" not in value:
        joined = Path("/base/folder") / value.strip()
        # Resolved as text: nothing of it exists.
        parts: list[str] = []
        for part in joined.parts[1:]:
            parts.pop() if part == ".." else parts.append(part)
        assert parts[:2] == ["base", "folder"]
    else:
        assert [one.input for one in outside_paths({"1": node("Unknown", **{name: value})})] == [name]
