"""Sound, video and pictures as files: opened safely, described, held against a promise, cut and joined.

``source`` opens what strangers sent; ``probe`` describes a file by decoding it; ``promise`` is what a task owes and
``gate`` holds a file against it; ``cut`` and ``join`` take a video apart and together again in chunks, ``sound`` does
the like for audio; ``mp4`` and ``sound_track`` write. PyAV and numpy (the extra ``media``) are imported when
something first works, so that importing this package costs nothing and needs nothing.
"""
