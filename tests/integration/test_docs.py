"""Every command in the documents runs as it stands, and ends with the status the document gives."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"#\s*exits? (\d+)\s*$")
INSTALLS = "python3 -m venv"  # the README's two commands make an environment: .ci/run runs those


def commands(document: Path) -> list[str]:
    """The lines behind `$ ` of all console blocks, with their continuation lines."""
    text = "".join(BLOCK.findall(document.read_text(encoding="utf-8")))
    text = text.replace("\\\n", "")
    found = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return [line for line in found if INSTALLS not in line]


def script(lines: list[str]) -> str:
    """A shell script that runs the lines in one shell and stops at the first unexpected status."""
    parts = ["trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for line in lines:
        wanted = match[1] if (match := STATUS.search(line)) else "0"
        parts += [line, f'status=$?; [ $status -eq {wanted} ] || {{ echo "exit $status: "{line!r} >&2; exit 99; }}']
    return "\n".join(parts)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_of_a_document_run(document: Path, tmp_path: Path):
    lines = commands(document)
    copy = ["git", "clone", "--quiet", str(ROOT), "."]
    subprocess.run(copy, cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["cp", "-r", str(ROOT / "examples"), "."], cwd=tmp_path, check=True)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    done = subprocess.run(
        ["bash", "-c", script(lines)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
