"""Stand-in: the version that ComfyUI states here."""

__version__ = "0.0.0+standin"
