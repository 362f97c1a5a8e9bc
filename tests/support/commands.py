"""Runs the program in the process of a test, and other programs beside it."""

import subprocess
from pathlib import Path

from reconciler.cli.main import main


def run_program(capture, *arguments, status=0, environment=None):
    """What the program prints; it has to end with this status.

    Args:
        capture: `capsys` or `capfd`.
        arguments: of the command line; for `json` the answer is standard output alone.
        status: the expected exit status.
        environment: of the program; None for that of the test.
    """
    capture.readouterr()
    ended = main([*map(str, arguments)], *([] if environment is None else [environment]))
    out, error = capture.readouterr()
    assert ended == status, out + error
    return out if "json" in arguments else out + error


def run_process(*command, check=False, timeout=60, **more):
    """Another program, with what it wrote and its exit status; `more` as for `subprocess.run`."""
    command = [*map(str, command)]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=timeout, **more)


def write_files(folder: Path, files):
    """Write files (path -> text) into a folder, which need not exist; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
