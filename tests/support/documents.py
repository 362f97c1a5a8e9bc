"""The commands in the documents, run in one shell as a reader would type them."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from reconciler.simulation.addresses import find_free_addresses

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"#\s*exits? (\d+)\s*$")
LONGEST_SECONDS = 300  # for all commands of a document, where the machine is busy with other tests
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
        told = shlex.quote(f"not {wanted}: {line}")
        parts += [line, f'status=$?; [ $status -eq {wanted} ] || {{ echo "$status, "{told} >&2; exit 99; }}']
    return "\n".join(parts)


def with_free_ports(folder: Path) -> None:
    """Move the examples to free ports, because documents are tested in parallel."""
    places = iter(find_free_addresses(13))
    moved: dict[str, str] = {}  # the nodes of a trial have one address before it and in it
    for name in ("demo", "faults/machines", "faults/machines-before"):
        fleet = folder / f"examples/{name}/fleet.yaml"
        text = re.sub(
            r"127\.0\.0\.1:1\d{4}",
            lambda found: moved.get(found[0]) or moved.setdefault(found[0], str(next(places))),
            fleet.read_text(encoding="utf-8"),
        )
        fleet.write_text(text, encoding="utf-8")
    lone = folder / "examples/lone/setting.json"
    port = str(next(places).port)
    lone.write_text(lone.read_text(encoding="utf-8").replace("10040", port), encoding="utf-8")


def run_commands(document: Path, tmp_path: Path) -> None:
    """Run all commands of a document in a copy of this repository; each must end with the status it gives."""
    copy = ["git", "clone", "--quiet", str(ROOT), "."]
    subprocess.run(copy, cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["cp", "-r", str(ROOT / "examples"), "."], cwd=tmp_path, check=True)
    with_free_ports(tmp_path)
    # without the history: its examples name the usual ports, where a fleet of somebody else may answer
    subprocess.run(["git", "checkout", "--quiet", "--orphan", "examples"], cwd=tmp_path, check=True)
    commit = ["git", "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qam", "Free ports"]
    subprocess.run(commit, cwd=tmp_path, check=True)
    (tmp_path / "runtime").mkdir()
    environment = {
        **os.environ,
        # its own: no other watch of this machine sees the watch of a document
        "RUNTIME_DIRECTORY": str(tmp_path / "runtime"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    with (
        (tmp_path / "output").open("w+", encoding="utf-8") as output,
        subprocess.Popen(
            ["bash", "-c", script(commands(document))],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        ) as shell,
    ):
        try:
            status = shell.wait(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            status = f"no end after {LONGEST_SECONDS} seconds"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
        assert status == 0, f"{status}: {(tmp_path / 'output').read_text(encoding='utf-8')}"
