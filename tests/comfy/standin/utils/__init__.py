"""Stand-in: ComfyUI has a top-level package of this name."""
