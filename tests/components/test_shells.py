"""Completion in real interactive shells: a line is typed, tab is pressed, and the line is looked at."""

import os
import pty
import re
import select
import shutil
import signal
import sys
import time

import pytest

from reconciler.cli.shell_completion import SCRIPTS

PROMPT = "ready> "
KILL_LINE = b"\x05\x15"
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][B0]|\x1b\][^\x07]*\x07|\x1b[=>]|\x07")
PROGRAM = (
    "#!/bin/sh\nexec {python} -c 'import sys; from reconciler.cli import shell_completion as s; "
    's.read_names = lambda *_: ({{"edge", "live"}}, {{"edge-07", "n1@s-1.example.com"}}); '
    'from reconciler.cli.main import main; sys.exit(main(sys.argv[1:]))\' "$@"\n'
)


class Shell:
    """An interactive shell in a terminal of its own, with completion as the help says."""

    def __init__(self, name, home):
        program = home / "bin" / "reconcile"
        program.parent.mkdir()
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        (home / "some file.txt").write_text("")
        load = f'eval "$(reconcile completion {name})"\n'
        (home / ".bashrc").write_text(f'PS1="{PROMPT}"\nbind "set bell-style none"\n{load}')
        (home / ".zshrc").write_text(f'PS1="{PROMPT}"\nautoload -U compinit; compinit -u -D\n{load}')
        fish = home / ".config/fish"
        (fish / "completions").mkdir(parents=True)
        (fish / "config.fish").write_text(f'function fish_prompt; printf "{PROMPT}"; end\n')
        (fish / "completions/reconcile.fish").write_text(SCRIPTS["fish"])
        command = [shutil.which(name), *(["--rcfile", str(home / ".bashrc")] if name == "bash" else []), "-i"]
        environment = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "TERM": "xterm",
            "LANG": "C.UTF-8",
        }
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(home)
            os.execve(command[0], command, environment)
        self._wait(PROMPT)

    def complete(self, line, expected):
        """Type a line and press tab; the shell must show `expected` in it."""
        os.write(self.terminal, line.encode() + b"\t")
        self._wait(expected)
        os.write(self.terminal, KILL_LINE)
        while select.select([self.terminal], [], [], 0.3)[
            0
        ]:  # what is shown of this line is no answer to the next
            os.read(self.terminal, 65_536)

    def _wait(self, expected):
        shown, end = "", time.monotonic() + 15
        while expected not in CONTROLS.sub("", shown):
            assert time.monotonic() < end, f"no {expected!r} in {CONTROLS.sub('', shown)!r}"
            if select.select([self.terminal], [], [], 0.1)[0]:
                got = os.read(self.terminal, 65_536)
                shown += got.decode("utf-8", "replace")
                if b"\x1b[6n" in got:  # some shells ask a terminal where its cursor is, and what it is
                    os.write(self.terminal, b"\x1b[1;1R")
                if b"\x1b[0c" in got or b"\x1b[c" in got:
                    os.write(self.terminal, b"\x1b[?62c")

    def end(self):
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.terminal)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
@pytest.mark.component("bash", "zsh", "fish")
def test_a_shell_completes_commands_options_names_and_files(name, tmp_path):
    shell = Shell(name, tmp_path)
    try:
        for line, expected in (
            ("reconcile hol", "hold "),
            ("reconcile status --onl", "--only "),
            ("reconcile hold edge-", "edge-07 "),
            ("reconcile hold n1@s", "s-1.example.com "),
            ("reconcile hold 'edge-", "edge-07'"),
            ("reconcile suspend l", "live "),
            ("reconcile history --cluster l", "live "),
            ("reconcile history --cluster=l", "--cluster=live"),
            ("reconcile --format=j", "--format=json"),
            ("RECONCILE_DEBUG=1 reconcile hold edge-", "edge-07 "),
            ("reconcile version; reconcile hold edge-", "edge-07 "),
            ("reconcile validate so", r"some\ file.txt"),
            ("reconcile status --state=so", r"--state=some\ file.txt"),
        ):
            shell.complete(line, expected)
    finally:
        shell.end()
