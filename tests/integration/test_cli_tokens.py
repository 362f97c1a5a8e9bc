"""`reconcile tokens` and `dashboard` by the entry point."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from support.commands import run_program

from reconciler.core.roles import AccessRole, Grant
from reconciler.server.access.secret_texts import digest_secret
from reconciler.store.factory import open_store


@pytest.fixture
def run(tmp_path, capsys):
    def run(*arguments, status=0):
        return run_program(capsys, *arguments, "--state", tmp_path / "state", status=status)

    return run


def use(tmp_path, text):
    with open_store(tmp_path / "state") as store:
        return asyncio.run(store.use_access_token(digest_secret(text)))


def test_a_token_is_shown_once_and_its_text_is_in_no_file(run, tmp_path):
    text = run(
        "tokens", "create", "ci", "--role", "look", "--role", "operate", "--cluster", "web-*", "-q"
    ).strip()
    assert re.fullmatch(r"rcl_[\w-]{43}", text)
    listed = run("tokens", "list")
    assert "look in web-*; operate in web-*" in listed
    assert "never used" in listed
    assert text not in listed + run("history")
    for file in (tmp_path / "state").rglob("*"):
        assert not file.is_file() or text[4:].encode() not in file.read_bytes()
    found = use(tmp_path, text)
    assert found.grants == (Grant(AccessRole.LOOK, ("web-*",)), Grant(AccessRole.OPERATE, ("web-*",)))


def test_a_program_reads_the_list_of_tokens(run):
    assert json.loads(run("tokens", "list", "--format", "json", "-q")) == []
    text = run("tokens", "create", "ci", "--role", "look", "--cluster", "web-*", "--reason", "build", "-q")
    run("tokens", "create", "old", "--role", "operate", "-q")
    run("tokens", "revoke", "old")
    shown = run("tokens", "list", "--format", "json", "-q")
    assert text.strip() not in shown
    found = {one["name"]: one for one in json.loads(shown)}
    assert (found["ci"]["counts"], found["old"]["counts"]) == (True, False)
    assert found["ci"]["grants"] == [{"role": "look", "clusters": ["web-*"]}]
    assert (found["ci"]["why"], found["ci"]["used"]) == ("build", None)
    assert found["ci"]["expires"] > found["ci"]["created"]
    assert found["old"]["revoked"]


def test_a_token_ends_after_90_days_or_when_it_was_asked_to(run, tmp_path):
    run("tokens", "create", "ci", "--role", "look")
    run("tokens", "create", "short", "--role", "look", "--expires", "2h")
    with open_store(tmp_path / "state") as store:
        ends = {one.name: one.expires - datetime.now(UTC) for one in asyncio.run(store.list_access_tokens())}
    assert timedelta(days=89) < ends["ci"] < timedelta(days=91)
    assert timedelta(hours=1) < ends["short"] < timedelta(hours=3)


def test_a_revoked_token_does_not_count_and_the_history_tells_who_and_why(run, tmp_path):
    text = run("tokens", "create", "ci", "--role", "look", "-q").strip()
    run("tokens", "revoke", "ci", "--reason", "it leaked", "--by", "kim")
    assert use(tmp_path, text) is None
    assert "revoked on" in run("tokens", "list")
    told = run("history")
    assert "token revoked  ci by" in told
    assert "it leaked" in told
    assert "kim (not checked)" in told


def test_a_token_is_written_for_its_user_alone(run, tmp_path):
    file = tmp_path / "token"
    told = run("tokens", "create", "ci", "--role", "look", "--output", file)
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text().strip()
    assert text not in told
    assert use(tmp_path, text) is not None
    assert "nothing was overwritten" in run(
        "tokens", "create", "b", "--role", "look", "--output", file, status=1
    )
    assert file.read_text().strip() == text


def test_a_token_that_is_refused_leaves_no_file(run, tmp_path):
    run("tokens", "create", "ci", "--role", "look")
    told = run("tokens", "create", "ci", "--role", "look", "--output", tmp_path / "token", status=1)
    assert "a token ci already" in told
    assert not (tmp_path / "token").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a b", "--role", "look"), "no name for a token"),
        (("", "--role", "look"), "no name for a token"),
        (("x" * 65, "--role", "look"), "no name for a token"),
        (("ci", "--role", "admin"), "look, approve or operate"),
        (("ci",), "--role"),
        (("ci", "--role", "look", "--cluster", ""), "at most 100"),
        (("ci", "--role", "look", "--cluster", "a\nb"), "at most 100"),
        (("ci", "--role", "look", "--expires", "400d"), "366 days"),
        (("ci", "--role", "look", "--expires", "soon"), "not a duration"),
        (("ci", "--role", "look", "--expires", "1s"), "between"),
    ],
)
def test_what_is_wrong_is_told(run, arguments, words):
    assert words in run("tokens", "create", *arguments, status=1)
    assert "There are no tokens." in run("tokens", "list")


def test_without_a_watch_there_is_no_link(run):
    assert "no running watch uses this state" in run("dashboard", status=1)
