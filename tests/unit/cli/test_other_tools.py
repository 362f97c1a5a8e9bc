"""What hands that know other tools type leads on to the command here, and changes nothing."""

import pytest

from reconciler.cli.command_table import COMMANDS
from reconciler.cli.main import main
from reconciler.cli.other_tools import OPTIONS, WORDS


def told(capsys, *arguments):
    status = main(arguments)
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_no_word_is_a_command_here_and_every_answer_is_one():
    assert sorted(WORDS.keys() & COMMANDS.keys()) == []
    commands = {meant.command.split()[1] for meant in WORDS.values() if len(meant.command.split()) > 1}
    assert {one for one in commands if not one.startswith("-")} <= COMMANDS.keys()


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["plan", "fleet", "--state", "s"], "`reconcile --dry-run fleet --state s`"),
        (["DIFF"], "`reconcile --dry-run`"),
        (["up", "--yes"], "`reconcile --yes`"),
        (["sync"], "`reconcile`"),
        (["init"], "`reconcile import`"),
        (["get", "nodes"], "`reconcile status`"),
        (["lint"], "`reconcile validate`"),
        (["reconcile"], "`reconcile`"),
        (["restart", "edge-01"], "`reconcile --only NODE`"),
        (["drift"], "`reconcile status`"),
        (["frobnicate"], "`reconcile help` shows the commands"),
        (["completions"], "did you mean `reconcile completion`?"),
        (["destroy", "-y"], "take it out of the fleet file"),
        (["plan", "https://user:secret@git.example.com/x"], "https://…@git.example.com/x"),
        (["plan", "a b"], "`reconcile --dry-run 'a b'`"),
        (["refresh"], "`reconcile status`"),
        (["taint", "n1"], "`reconcile retry NAME`"),
        (["force-unlock", "1"], "a lock ends with its process"),
        (["untaint", "n1"], "`reconcile release NODE`"),
        (["providers"], "products are built in"),
        (["login"], "a command counts as the user who runs it"),
        (["console"], "`reconcile render --explain`"),
        (["force"], "override in git"),
        (["state", "list"], "`reconcile status`"),
        (["state", "mv", "a", "b"], "`renamed_from`"),
        (["state", "rm", "a"], "take it out of the fleet file"),
        (["state", "pull"], "`reconcile state backup FILE`"),
    ],
)
def test_a_word_of_another_tool_names_the_command(capsys, arguments, advice):
    status, out, error = told(capsys, *arguments)
    assert (status, out) == (1, "")
    assert advice in error
    assert "secret" not in error


@pytest.mark.parametrize("arguments", [["status", "edge-01"], ["status", "fleet", "edge-01"]])
def test_a_node_in_the_place_of_a_folder_leads_to_only(capsys, arguments, tmp_path):
    status, _, error = told(capsys, *arguments, "--state", str(tmp_path))
    assert status == 1
    assert "write `--only edge-01`" in error


@pytest.mark.parametrize("word", ["plan", "destroy", "get"])
def test_a_folder_with_such_a_name_is_not_applied_by_surprise(capsys, tmp_path, monkeypatch, word):
    (tmp_path / word).mkdir()
    (tmp_path / word / "fleet.yaml").write_text("clusters: []\n")
    monkeypatch.chdir(tmp_path)
    status, _, error = told(capsys, word, "--yes")
    assert (status, "there is no command" in error) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--auto-approve"], "--yes"),
        (["-n"], "--dry-run"),
        (["status", "-o", "json"], "--format json"),
        (["--limit=edge"], "--only NAME"),
        (["--force"], "override in git"),
    ],
)
def test_an_option_of_another_tool_names_the_option(capsys, arguments, advice):
    status, _, error = told(capsys, *arguments)
    assert status == 1
    assert advice in error


def test_no_option_of_the_table_is_one_here(capsys):
    for option in OPTIONS:
        assert main(["suspend", option]) == 1, option
        assert "No such option" in capsys.readouterr().err, option


@pytest.mark.parametrize("before", [["-q"], ["--no-color", "-v"], ["--quiet"]])
def test_options_of_every_command_may_stand_before_it(capsys, before):
    assert main([*before, "version"]) == 0
    assert capsys.readouterr().out.startswith("reconcile ")


def test_help_shows_a_command_or_the_page_of_the_environment(capsys):
    assert main(["help", "history", "show"]) == 0
    assert "Usage: reconcile history show" in capsys.readouterr().out
    assert main(["help", "environment"]) == 0
    page = capsys.readouterr().out
    for name in (
        "RECONCILE_STATE",
        "RECONCILE_WEBHOOK_SECRET_FILE",
        "NO_COLOR",
        "host.yaml",
        "  operators\n",
    ):
        assert name in page


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_the_options_of_output(capsys, command):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--quiet", "--verbose", "--no-color")) or command in {
        "state",
        "secrets",
        "tokens",
    }


def test_apply_without_a_plan_file_or_with_a_folder_leads_on(capsys, tmp_path):
    assert "`reconcile --dry-run --out FILE`" in told(capsys, "apply")[2]
    assert f"`reconcile {tmp_path}`" in told(capsys, "apply", "--yes", str(tmp_path))[2]
    assert "not confirmed" not in told(capsys, "apply", "--help")[1]
