"""The picture of the README: a part of what `reconcile demo` shows; `python -m tools.demo_picture` prints it."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 98
SECTION = re.compile(r"── 6\. .*?(?=\r?\n\s*\r?\n?── 7\. )", re.DOTALL)
FOLDER = re.compile(r"/\S*/reconcile-demo-\w+/fleet")
COMMIT, ID = re.compile(r"\b[0-9a-f]{12}\b"), "5792c4ad6d71"
PROGRESS, ERASED = re.compile("[\u2801-\u28ff\u2501]"), "\x1b[2K"
"""What moves: a spinner, a bar, and the control sequence by which its line is written over."""

# Without the fonts that rich's own format loads from elsewhere.
FORMAT = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>A node of a Sora cluster is replaced: the plan, and its result</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def capture_demo() -> str:
    """What the demonstration writes on a terminal with colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    environment.pop("NO_COLOR", None)
    program = [str(Path(sys.executable).with_name("reconcile")), "demo"]
    with subprocess.Popen(program, stdout=theirs, stderr=theirs, env=environment) as demo:  # noqa: S603
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 65_536):
                parts.append(part)
        except OSError:  # the end of a terminal
            pass
        os.close(ours)
    if demo.returncode:
        sys.exit(f"the demonstration ended with {demo.returncode}")
    return b"".join(parts).decode()


def make_picture(shown: str) -> str:
    """The part of the demonstration that replaces a node, as SVG; the same for each run."""
    found = SECTION.search(shown)
    if found is None:
        sys.exit("the demonstration has no part 6 any more: choose another one for the picture")
    # A folder and ids of this run would make each picture another one.
    lines = (line.replace("\r", "").rpartition(ERASED)[2] for line in found[0].split("\n"))
    text = "\n".join(line for line in lines if not PROGRESS.search(line))
    text = COMMIT.sub(ID, FOLDER.sub("https://git.example.com/fleet", text))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text))
    return console.export_svg(title="reconcile demo", code_format=FORMAT, unique_id="demo")


if __name__ == "__main__":
    sys.stdout.write(make_picture(capture_demo()))
