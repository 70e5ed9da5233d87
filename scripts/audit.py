#!/usr/bin/env python3
"""Ask the package index for known vulnerabilities of what is installed here (``make lint AUDIT=1``).

Not part of every ``make lint``: it asks about each installed package by name, and needs the network. Where the
index cannot be reached it says so and succeeds. What the index does not know (a build of one's own) is listed
as not audited.
"""

from __future__ import annotations

import socket
import subprocess
import sys

INDEX = ("pypi.org", 443)
REACH_SECONDS = 5.0


def main() -> int:
    """The exit code: pip-audit's own, 0 where it could not run."""
    try:
        socket.create_connection(INDEX, timeout=REACH_SECONDS).close()
    except OSError as error:
        print(f"pip-audit skipped: {INDEX[0]} cannot be reached ({error})")
        return 0
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off"]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
