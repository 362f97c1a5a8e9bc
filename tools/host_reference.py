"""The reference of the host configuration; `python -m tools.host_reference` prints it."""

from __future__ import annotations

import sys

from reconciler.cli.render.host_reference import render_host_reference

if __name__ == "__main__":
    sys.stdout.write(render_host_reference())
