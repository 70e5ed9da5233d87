"""A ComfyUI that is not as expected is refused when it starts, in one line that says what is wrong.

Always against the stand-in: copies of it with one thing changed, as releases of ComfyUI have changed things.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from myspinbot_worker.comfy.embedded import EmbeddedEngine
from myspinbot_worker.errors import EngineUnavailable

from .harness import STANDIN, Checkout, files_below


def _refused(tmp_path: Path, root: Path, **settings: Any) -> str:
    engine = EmbeddedEngine(
        Checkout(root, Path(sys.executable)).settings(keep_warm=(), custom_nodes=(), **settings),
        tmp_path / "scratch",
    )
    try:
        with pytest.raises(EngineUnavailable) as caught:
            engine.catalog()
        assert engine.child is None
        assert not [name for name in files_below(tmp_path / "scratch") if "home-" in name]
    finally:
        engine.close()
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("file", "before", "after", "words"),
    [
        ("execution.py", "cache_args: Any = None)", "cache_args: Any = None, *, broker: Any)", "also wants broker"),
        ("execution.py", '"execution_success", {', '"execution_done", {', "no event 'execution_success' was sent"),
        ("execution.py", '{"nodes": cached, ', "{", "event 'execution_cached' lacks nodes"),
        ("execution.py", "nodes.interrupt_processing(False)", "self.server.on_start()", "wants server.on_start"),
        ("execution.py", "class CacheType", "class CacheKind", "no attribute 'CacheType'"),
        ("execution.py", '"outputs": shown', '"shown": shown', "a tiny graph fails: KeyError: 'outputs'"),
        ("prompt_validation.py", "return True, None, good, found", "return True, good", "a tiny graph fails"),
        ("server.py", "self.sockets_metadata: dict[str, Any] = {}", "pass", "no 'sockets_metadata' any more"),
        ("folder_paths.py", "def set_user_directory", "def set_users_directory", "set_user_directory"),
        ("comfy/options.py", "def enable_args_parsing", "def parse", "enable_args_parsing"),
        ("nodes.py", "import numpy as np", "import nothing_of_this_name as np", "nothing_of_this_name"),
        ("nodes.py", "import numpy as np", 'raise RuntimeError("line 1\\nno CUDA here")', "no CUDA here"),
        ("nodes.py", "import numpy as np", "import numpy as np, os; os._exit(3)", "exited with code 3"),
    ],
)  # fmt: skip
def test_a_comfyui_that_has_changed(tmp_path: Path, file: str, before: str, after: str, words: str) -> None:
    root = tmp_path / "changed"
    shutil.copytree(STANDIN, root, ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / file).read_text()
    assert before in text
    (root / file).write_text(text.replace(before, after))
    message = _refused(tmp_path, root)
    assert words in message
    assert "ComfyUI" in message


def test_no_comfyui_at_all(tmp_path: Path) -> None:
    assert "is no ComfyUI checkout" in _refused(tmp_path, tmp_path)
    assert "is no ComfyUI checkout" in _refused(tmp_path, tmp_path / "nowhere")


def test_no_python(tmp_path: Path) -> None:
    assert "cannot be started" in _refused(tmp_path, STANDIN, python=tmp_path / "python")


def test_arguments_it_does_not_know(tmp_path: Path) -> None:
    message = _refused(tmp_path, STANDIN, arguments=("--cpu", "--no-such-thing"))
    assert "refuses the arguments '--cpu --no-such-thing'" in message


def test_a_start_that_takes_too_long(tmp_path: Path) -> None:
    root = tmp_path / "slow"
    shutil.copytree(STANDIN, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "folder_paths.py").write_text("import time\ntime.sleep(600)\n")
    message = _refused(tmp_path, root, boot_seconds=1.0)
    assert "was not ready within 1 s (comfyui.boot_seconds)" in message


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    where = tmp_path / "nowhere"
    assert f"there is no folder {where}" in _refused(tmp_path, STANDIN, models=(where,))
    engine = EmbeddedEngine(Checkout(STANDIN, Path(sys.executable)).settings(custom_nodes=(where,)), tmp_path)
    with pytest.raises(EngineUnavailable, match=f"there is no folder {where}"):
        engine.catalog()
    engine.close()
