"""myspinbot-worker: a GPU task farm for generative-video jobs, on Dramatiq actors."""

__version__ = "0.1.0"
