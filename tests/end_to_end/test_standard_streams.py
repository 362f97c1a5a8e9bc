"""Standard streams that are closed, full, closed by their reader, or in another encoding than UTF-8."""

import json
import os
import subprocess
import sys

import pytest

FLEET = """clusters:
  - name: edge
    kind: m2
    setting: setting.json
    nodes: [{name: edge-01, address: 127.0.0.1:1}]
"""
SETTING = '{"meta": {"version": "v1"}, "hosting": [{"name": "bücher.example.com"}]}'
COMMANDS = {
    "version": ["--version"],
    "help": ["--help"],
    "explain": ["explain", "frozen"],
    "history": ["history", "--state", "state"],
    "render": ["render", "fleet"],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet/fleet.yaml").write_text(FLEET)
    (tmp_path / "fleet/setting.json").write_text(SETTING, encoding="utf-8")
    return tmp_path


def run(folder, arguments, redirection="", **environment):
    shell = f'exec "$0" -m reconciler.cli.main "$@" {redirection}'
    return subprocess.run(
        ["sh", "-c", shell, sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(folder, command, closed):
    found = run(folder, COMMANDS[command], closed)
    assert (found.returncode, found.stderr) == (0, b"")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_an_error_in_a_sentence(folder, command):
    found = run(folder, COMMANDS[command], ">/dev/full")
    assert found.returncode == 1
    assert b"No space left on device" in found.stderr
    assert b"Traceback" not in found.stderr
    assert b"defect" not in found.stderr


@pytest.mark.parametrize("command", ["version", "help", "render"])
def test_a_reader_that_goes_away_is_no_error(folder, command):
    reader, writer = os.pipe()
    os.close(reader)
    found = subprocess.run(
        [sys.executable, "-m", "reconciler.cli.main", *COMMANDS[command]],
        cwd=folder,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (found.returncode, found.stderr) == (141, b"")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_json_stays_json_in_every_encoding(folder, encoding):
    found = run(folder, COMMANDS["render"], PYTHONIOENCODING=encoding)
    assert json.loads(found.stdout)["hosting"][0]["name"] == "bücher.example.com"


def test_text_has_the_signs_of_its_encoding(folder):
    (folder / "fleet/fleet.yaml").write_text(FLEET.replace("kind: m2", "kind: bücher"), encoding="utf-8")
    shown = run(folder, ["validate", "fleet"], PYTHONIOENCODING="ascii").stdout.decode("ascii")
    assert "  -> " in shown
    assert "b\\u00fccher" in shown


INVALID = os.fsdecode(b"\xff")


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", INVALID],
        ["validate", INVALID],
        ["history", "show", INVALID, "--state", "state"],
        ["--dry-run", "fleet", "--only", INVALID, "--state", "state"],
    ],
)
def test_arguments_of_invalid_bytes_are_quoted_in_the_message(folder, arguments):
    found = run(folder, arguments)
    assert found.returncode == 1
    assert b"\\udcff" in found.stderr
    assert b"defect" not in found.stderr
