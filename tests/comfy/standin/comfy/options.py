"""Stand-in: whether the command line is read when :mod:`comfy.cli_args` is imported."""

args_parsing = False


def enable_args_parsing(enable: bool = True) -> None:
    """Has to come before :mod:`comfy.cli_args` is imported."""
    global args_parsing
    args_parsing = enable
