"""ComfyUI: workflows as data, two engines that run them, and the pipelines built on both.

``engine.py`` is the protocol; ``embedded.py`` runs ComfyUI headless in a child process, ``remote.py`` uses a ComfyUI
server. Nothing here imports ComfyUI or torch: only ``host/``, which is the child's own program, does.
"""
