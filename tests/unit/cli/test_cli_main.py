"""The entry point: which command runs, and the message for every kind of error."""

import io
import sys
from types import ModuleType

import pytest
import typer

from reconciler import __version__
from reconciler.cli import command_table
from reconciler.cli.main import main
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.errors import GuardRefusal, InputError, NodeRefused, StateError, WorldChanged


@pytest.fixture
def command(monkeypatch):
    """Puts a function into the table as the command `probe`."""

    def put(function):
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command()(function)
        module = ModuleType("probe_of_main")
        module.app = app
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(
            command_table.COMMANDS, "probe", command_table.Command(module.__name__, "a probe")
        )

    return put


def raising(error):
    def function() -> int:
        raise error

    return function


def test_the_version_is_printed_without_loading_a_command(capsys, monkeypatch):
    monkeypatch.setattr(command_table, "DEFAULT", command_table.Command("no.such.module", ""))
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"reconcile {__version__}\n"


def test_a_known_first_argument_is_a_command_and_gives_the_status(command):
    def function(number: int) -> int:
        return number

    command(function)
    assert main(["probe", "7"]) == 7


def test_a_command_that_returns_nothing_succeeds(command):
    def function() -> None:
        return None

    command(function)
    assert main(["probe"]) == 0


def test_an_unknown_first_argument_goes_to_the_default_command(monkeypatch):
    seen = []
    app = typer.Typer(add_completion=False, rich_markup_mode=None)

    @app.command()
    def function(source: str = typer.Argument("."), dry_run: bool = typer.Option(False, "--dry-run")) -> int:
        seen.append((source, dry_run))
        return 0

    module = ModuleType("probe_of_default")
    module.app = app
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(command_table, "DEFAULT", command_table.Command(module.__name__, ""))
    assert [main(given) for given in ([], ["./history"], ["--dry-run", "history"])] == [0, 0, 0]
    assert seen == [(".", False), ("./history", False), ("history", True)]


def test_help_names_every_command_and_every_status(capsys):
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert [name for name in command_table.COMMANDS if name not in output] == []
    assert [status for status in (0, 1, 2, 3, 4, 5) if f"\n    {status}  " not in output] == []


def test_a_wrong_option_is_a_usage_error_and_not_status_2(capsys):
    assert main(["--zzz"]) == 1
    output = capsys.readouterr().err
    assert output == "error: No such option: --zzz\n  → see `reconcile --help`\n"


def test_a_wrong_option_of_a_subcommand_names_the_help_of_the_subcommand(capsys):
    assert main(["state", "rebind", "edge"]) == 1
    assert "see `reconcile state rebind --help`" in capsys.readouterr().err


def test_a_misspelt_command_is_not_taken_for_a_source(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["histroy"]) == 1
    assert capsys.readouterr().err == (
        "error: there is no command and no folder 'histroy'\n  → did you mean `reconcile history`?\n"
    )


def test_an_option_without_effect_is_refused(capsys):
    assert main(["--detailed-exitcode", "."]) == 1
    assert "only with --dry-run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "output"),
    [
        (StateError("the disk is full", remedy="make room"), 1, "error: the disk is full\n  → make room\n"),
        (WorldChanged("edge-01 is not as planned"), 4, "error: edge-01 is not as planned\n"),
        (NodeRefused("edge-01", "said\x1b[2J no", status=400), 1, "error: edge-01: said\\x1b[2J no\n"),
        (
            GuardRefusal(
                [Diagnostic(Severity.ERROR, "quorum", "live: one too few", "bring one back", target="live")]
            ),
            3,
            "refused: live: one too few [quorum]\n  → bring one back\n",
        ),
    ],
)
def test_an_error_is_a_message_and_its_own_status(command, capsys, error, status, output):
    command(raising(error))
    assert main(["probe"]) == status
    assert capsys.readouterr().err == output


def test_every_problem_of_the_files_is_listed_with_its_position(command, capsys):
    problems = [
        Diagnostic(Severity.ERROR, "bad", "wrong", "right", position=Position("a.yaml", 3, 7), pointer="/x"),
        Diagnostic(Severity.WARNING, "odd", "doubtful", position=Position("b.json")),
    ]
    command(raising(InputError(problems)))
    assert main(["probe"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: a.yaml:3:7: wrong [bad]",
        "  → right",
        "warning: b.json: doubtful [odd]",
        "1 error in 2 files; nothing was done.",
    ]


def test_an_interruption_shows_no_traceback(command, capsys):
    command(raising(KeyboardInterrupt()))
    assert main(["probe"]) == 130
    output = capsys.readouterr().err
    assert output.startswith("Stopped on request.")
    assert "Traceback" not in output


def test_a_defect_shows_its_type_and_line_but_not_its_message(command, capsys, monkeypatch):
    monkeypatch.delenv("RECONCILE_DEBUG", raising=False)
    command(raising(KeyError("hunter2")))
    assert main(["probe"]) == 1
    output = capsys.readouterr().err
    assert "KeyError at " in output
    assert "test_cli_main.py:" in output
    assert "RECONCILE_DEBUG=1" in output
    assert "hunter2" not in output
    assert "Traceback" not in output


def test_a_defect_shows_its_traceback_on_request(command, capsys, monkeypatch):
    monkeypatch.setenv("RECONCILE_DEBUG", "1")
    command(raising(KeyError("x")))
    assert main(["probe"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_character_that_the_terminal_lacks_is_escaped(command, monkeypatch):
    def function() -> int:
        sys.stdout.write("a → b\n")
        return 0

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    command(function)
    assert main(["probe"]) == 0
    assert raw.getvalue() == b"a -> b\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["validate", "--format", "yaml"],
            "--format must be text, json, github, sarif or codequality, got 'yaml'",
        ),
        (["history", "--limit", "0"], "--limit must be at least 1, got '0'"),
        (["apply", "plan.json", "--keep", "1.5"], "--keep must be a whole number, got '1.5'"),
    ],
)
def test_a_wrong_value_of_an_option_is_described_as_one_in_a_file_is(arguments, message, capsys):
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}\n")


def test_full_is_refused_for_a_comment_that_forges_cut(tmp_path, capsys):
    """Markdown is kept within the limit of a comment, so that `--full` could only seem to work."""
    assert main(["--dry-run", "--full", "--format", "markdown", "--no-state", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "--full does not work with --format markdown: forges limit the length of a comment" in told
    assert "use --format text or --format json" in told
