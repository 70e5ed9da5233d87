"""A capability in a module of its own: subtitles for a narration.

Load it into ingestors and workers with ``FARM_ACTOR_MODULES=examples.subtitles``, then name the service
``text.subtitles`` in a graph.
"""

from __future__ import annotations

from pydantic import Field

from myspinbot_worker.capability import Payload, Retry, capability
from myspinbot_worker.storage import Artifact
from myspinbot_worker.task import Task


class Params(Payload):
    wordsPerMinute: float = Field(150.0, gt=0, le=1000, description="How fast the text is spoken.")
    wordsPerLine: int = Field(7, ge=1, le=50, description="Most words shown at a time.")


class Given(Payload):
    narration: str = Field(description="The text that is spoken.")


class Output(Payload):
    subtitles: Artifact = Field(description="The subtitles: SubRip (.srt).")


@capability("text.subtitles", kind="cpu", label="Subtitles", timeout_seconds=60, retry=Retry(max_attempts=3))
def subtitles(task: Task, params: Params, given: Given) -> Output:
    """Time a narration's words evenly and write them down as subtitles."""
    words = given.narration.split()
    seconds_per_word = 60 / params.wordsPerMinute
    path = task.scratch / "subtitles.srt"
    with path.open("w", encoding="utf-8") as file:
        for number, start in enumerate(range(0, len(words), params.wordsPerLine), 1):
            task.check()
            line = words[start : start + params.wordsPerLine]
            begin, end = start * seconds_per_word, (start + len(line)) * seconds_per_word
            file.write(f"{number}\n{_time(begin)} --> {_time(end)}\n{' '.join(line)}\n\n")
            task.progress((start + len(line)) / len(words))
    return Output(subtitles=task.keep(path, bucket="output", content_type="application/x-subrip"))


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"
