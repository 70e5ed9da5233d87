"""CPU engines for the farm's tasks: real WAV and MP4 files without a GPU, labelled as previews.

One module an engine: ``speech`` (Piper), ``talking_head`` (face landmarks), ``upscale`` (Real-ESRGAN). Their
packages come with the extras ``preview`` and ``speech`` and are imported when an engine first works, so that
importing this package costs nothing and needs nothing.
"""
