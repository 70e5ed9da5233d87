"""The child's program: ComfyUI, headless, told what to do over a socket pair.

It runs in ComfyUI's own Python (``comfyui.python``), which need not have the farm installed: nothing here imports
anything but the standard library, ComfyUI and what ComfyUI brings. ``launch.py`` is started by its path.
"""
