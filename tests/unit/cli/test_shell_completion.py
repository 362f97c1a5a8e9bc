"""Completion in shells: what is offered, and that a hostile name is text in the line, never a command."""

import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.cli import shell_completion
from reconciler.cli.main import main
from reconciler.cli.shell_completion import SCRIPTS, complete_line, split_typed

HOSTILE = """a b
$(touch x)
`id`
a'b
a"b
a;b
a&b
*
~
n1@s-1.example.com
a:b
ü
!x
-x""".splitlines()


@pytest.fixture(autouse=True)
def names(monkeypatch):
    known = ({"edge", "live"}, {"edge-01", "edge-02", "esc\x1b", "line\nbreak", *HOSTILE})
    monkeypatch.setattr(shell_completion, "read_names", lambda words, context: known)


def offered(line, shell="zsh"):
    kind, *found = complete_line(line, shell, None).splitlines()
    return kind, found


@pytest.mark.parametrize(
    ("line", "kind", "expected"),
    [
        ("reconcile sta", "words", ["state", "status"]),
        ("reconcile status --form", "words", ["--format"]),
        ("reconcile status --format ", "words", ["json", "text"]),
        ("reconcile --only edge-", "words", ["edge-01", "edge-02"]),
        ("reconcile status --only edge", "words", ["edge", "edge-01", "edge-02"]),
        ("reconcile hold edge", "words", ["edge-01", "edge-02"]),
        ("reconcile suspend ", "words", ["edge", "live"]),
        ("reconcile history sh", "words", ["show"]),
        ("reconcile history show --for", "words", ["--format"]),
        ("reconcile explain lock-out-", "words", ["lock-out-all"]),
        ("reconcile completion ", "words", ["bash", "fish", "zsh"]),
        ("reconcile help env", "words", ["environment"]),
        ("reconcile ./fo", "files", []),
        ("reconcile apply ", "files", []),
        ("reconcile validate ", "files", []),
        ("reconcile status --state ", "files", []),
        ("reconcile status --state=/va", "files", []),
        ("reconcile status --only=edge-", "words", ["--only=edge-01", "--only=edge-02"]),
        ("reconcile --format=j", "words", ["--format=json"]),
        ("reconcile history --cluster ", "words", ["edge", "live"]),
        ("reconcile history --cluster=li", "words", ["--cluster=live"]),
        ("reconcile history --cluster edge or", "words", ["orders"]),
        ("reconcile history orders --cluster l", "words", ["live"]),
        ("reconcile retry edge", "words", ["edge", "edge-01", "edge-02"]),
        ("reconcile purge --cluster e", "words", ["edge"]),
        ("reconcile render --node edge", "words", ["edge-01", "edge-02"]),
        ("reconcile --only kind:s", "words", ["kind:sora"]),
    ],
)
def test_what_is_offered(line, kind, expected):
    assert offered(line) == (kind, expected)


def test_what_cannot_be_typed_on_one_line_is_left_out():
    assert not [one for one in offered("reconcile hold ")[1] if "\x1b" in one or one in {"line", "break"}]


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_every_line_has_an_answer(text):
    words, last = split_typed(f"reconcile {text}")
    assert isinstance(last, str)
    assert all(isinstance(word, str) for word in words)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_and_read_by_its_shell(shell, capsys, tmp_path):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert script == SCRIPTS[shell]
    if found := shutil.which(shell):
        file = tmp_path / "script"
        file.write_text(script)
        subprocess.run([found, "-n", str(file)], check=True)


def test_errors_give_nothing(monkeypatch, capsys):
    def fail(*_):
        raise OSError("no state")

    monkeypatch.setattr(shell_completion, "read_names", fail)
    assert main(["completion", "bash", "reconcile hold e"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_word_for_bash(name):
    (found,) = [one for one in offered("reconcile hold ", "bash")[1] if one.replace("\\", "") == name]
    shown = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {found}"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert shown.stdout == f"{name}\n"


def test_bash_calls_the_function_and_replaces_only_its_own_word(tmp_path):
    program = tmp_path / "reconcile"
    program.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; from reconciler.cli import shell_completion as s; "
        's.read_names = lambda *_: (set(), {"n1@s-1.example.com"}); '
        'from reconciler.cli.main import main; sys.exit(main(sys.argv[1:]))\' "$@"\n'
    )
    program.chmod(0o755)
    line = "reconcile hold n1@s"
    script = f"PATH={tmp_path}:$PATH; {SCRIPTS['bash']}\nCOMP_LINE='{line}'; COMP_POINT={len(line)}; "
    script += "_reconcile; printf '%s\\n' \"${COMPREPLY[@]}\""
    shown = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    assert (shown.stdout, shown.stderr) == ("s-1.example.com\n", "")
