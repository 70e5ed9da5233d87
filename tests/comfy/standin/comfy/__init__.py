"""Stand-in: the part of ComfyUI that handles devices, arguments and progress."""
