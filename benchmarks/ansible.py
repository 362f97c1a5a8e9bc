"""How long a dry run takes, against a playbook of Ansible that makes the same GETs and judges one value.

    python -m venv other && other/bin/pip install ansible-core
    python benchmarks/ansible.py other/bin/ansible-playbook [NODES] [FORKS]

Both are whole processes, one after the other, against the same simulated nodes. The playbook does less: it
compares the version alone, and neither plans nor guards.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from dry_run import PATHS, addresses_of, dry_run, serving, timed

PLAY = [
    {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "tasks": [
            *(
                {
                    "uri": {"url": f"http://{{{{ address }}}}{path}", "return_content": True},
                    "register": f"answer{number}",
                    "check_mode": False,
                }
                for number, path in enumerate(PATHS)
            ),
            {"assert": {"that": "answer0.json.meta.version is defined"}},
        ],
    }
]


def play(program: str, forks: int, folder: Path, addresses: list[str]) -> None:
    """The whole playbook over all nodes."""
    (folder / "play.json").write_text(json.dumps(PLAY))
    # One interpreter for all, so that Ansible does not look for one on each.
    shared = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    hosts = {f"node-{number}": {"address": address} for number, address in enumerate(addresses)}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": shared}}))
    command = [
        program,
        "--check",
        "-f",
        str(forks),
        "-i",
        str(folder / "hosts.json"),
        str(folder / "play.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        sys.exit(f"the playbook ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def main() -> None:
    """Write a fleet, serve it, measure both, print the ratio."""
    program, *numbers = sys.argv[1:]
    count, forks = [*map(int, numbers), *(100, 20)[len(numbers) :]][:2]
    with serving(count) as folder, tempfile.TemporaryDirectory() as own:
        addresses = addresses_of(folder)
        ours = min(timed(lambda: dry_run(folder)) for _ in range(3))
        theirs = timed(lambda: play(str(Path(program).absolute()), forks, Path(own), addresses))
    print(f"{count} nodes, {len(PATHS)} GETs each:")
    print(f"  ansible-playbook --check, {forks} forks  {theirs:7.2f} s")
    print(f"  reconcile --dry-run                {ours:7.2f} s")
    print(f"  ratio                              {theirs / ours:7.1f}")


if __name__ == "__main__":
    main()
