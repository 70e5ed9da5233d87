"""The platform's talking-bot pipeline as a graph: script → speech → talking head → upscaling."""

from __future__ import annotations

from itertools import pairwise
from typing import Any


def talking_bot(job: str, *, image_path: str, voice_path: str, voice_text: str) -> dict[str, Any]:
    """The graph the platform's planner makes for one video.

    Args:
        image_path, voice_path: "bucket/key" of the portrait and the reference voice.
        voice_text: What the reference voice says.
    """
    nodes: list[dict[str, Any]] = [
        {"id": "script", "name": "Write the script", "service": "script.generate_script", "plane": "node"},
        {
            "id": "speech",
            "name": "Speak it",
            "service": "generate.f5_to_tts",
            "plane": "python",
            "params": {"audioPath": voice_path, "refText": voice_text},
        },
        {
            "id": "talk",
            "name": "Make the portrait talk",
            "service": "generate.infinite_talk",
            "plane": "python",
            "params": {
                "imagePath": image_path,
                "positive_prompt": "a person speaking to the camera",
                "negative_prompt": "",
            },
        },
        {
            "id": "upscale",
            "name": "Enlarge the video",
            "service": "generate.upscale_video",
            "plane": "python",
        },
    ]
    weights = {"script": 0.05, "speech": 0.1, "talk": 0.15, "upscale": 0.7}
    for node in nodes:
        node |= {"status": "pending", "progressWeight": weights[node["id"]]}
    ids = [node["id"] for node in nodes]
    return {
        "schema": "langgraph.v1",
        "workflowId": job,
        "nodes": nodes,
        "edges": [{"from": source, "to": target, "kind": "normal"} for source, target in pairwise(ids)],
    }
