"""The engines can be imported anywhere and say what they miss; and they get on with each other."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from myspinbot_worker.errors import EngineUnavailable
from myspinbot_worker.extras import package_folder
from myspinbot_worker.preview.speech import PiperSpeech
from myspinbot_worker.preview.talking_head import LandmarkTalkingHead
from myspinbot_worker.preview.upscale import RealEsrganUpscaler

from .clips import tone, write_wav
from .recorder import Recorder

pytestmark = pytest.mark.preview

_IMPORT = """
import sys
import myspinbot_worker.preview.speech
import myspinbot_worker.preview.talking_head
import myspinbot_worker.preview.upscale
print(sorted({"av", "numpy", "cv2", "PIL", "mediapipe", "ncnn", "piper", "onnxruntime"} & set(sys.modules)))
"""


def test_importing_the_engines_imports_nothing_heavy() -> None:
    run = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_missing_package_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, reference: Path, portrait: Path, clip: Path, tmp_path: Path
) -> None:
    for missing in ("piper", "mediapipe.python.solutions.face_mesh", "ncnn"):
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'myspinbot-worker\[speech\]'"):
        PiperSpeech().speak("Hello.", reference, "", tmp_path / "o", Recorder())
    with pytest.raises(EngineUnavailable, match=r"pip install 'myspinbot-worker\[preview\]'"):
        LandmarkTalkingHead().animate(portrait, reference, tmp_path / "o", Recorder())
    with pytest.raises(EngineUnavailable, match=r"pip install 'myspinbot-worker\[preview\]'"):
        RealEsrganUpscaler().upscale(clip, tmp_path / "o", Recorder())
    with pytest.raises(EngineUnavailable, match="no_such_package"):
        package_folder("no_such_package", "preview")


def test_all_engines_work_at_once_in_threads(
    speech_engine: PiperSpeech,
    upscaler: RealEsrganUpscaler,
    reference: Path,
    portrait: Path,
    clip: Path,
    tmp_path: Path,
) -> None:
    sound = write_wav(tmp_path / "s.wav", tone(0.4))
    recorders = [Recorder() for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        work = []
        for number in range(2):
            spoken, talked, larger = recorders[3 * number : 3 * number + 3]
            out = tmp_path / str(number)
            out.mkdir()
            work += [
                threads.submit(speech_engine.speak, "Hello.", reference, "", out / "s.wav", spoken),
                threads.submit(LandmarkTalkingHead().animate, portrait, sound, out / "t.mp4", talked),
                threads.submit(upscaler.upscale, clip, out / "u.mp4", larger),
            ]
        for future in work:
            future.result()
    assert all(recorder.complete() for recorder in recorders)
