"""The place of the ComfyUI engines. There are none yet: ``farm.engine`` knows only ``preview``."""
