"""Refs as people write them, and errors of git with a message and a remedy."""

from __future__ import annotations

import pytest

from reconciler.errors import SourceError, SourceUnreachable, UsageError
from reconciler.sources.git.errors import RULES, translate_error
from reconciler.sources.git.refs import (
    Ref,
    Refs,
    check_ref,
    find_ref,
    make_unknown_ref_error,
    parse_ls_remote,
)
from reconciler.sources.source_address import parse_source_address
from reconciler.text.one_line import quote_path as shown_path
from reconciler.text.one_line import take_first_line

A, B, C = "a" * 40, "b" * 40, "c" * 40

LISTED = f"""ref: refs/heads/main\tHEAD
{A}\tHEAD
{A}\trefs/heads/main
{B}\trefs/heads/release/2026
{C}\trefs/tags/v1
{B}\trefs/tags/v1^{{}}
{B}\trefs/remotes/origin/next
{C}\trefs/pull/7/head
"""


def test_listing_of_a_remote():
    refs = parse_ls_remote(LISTED)
    assert refs.default == "refs/heads/main"
    assert refs.ids["refs/tags/v1"] == C, "the tag itself, not what it names"
    assert len(refs.ids) == 6


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("", "HEAD"),
        ("main", "refs/heads/main"),
        ("release/2026", "refs/heads/release/2026"),
        ("tags/v1", "refs/tags/v1"),
        ("origin/next", "refs/remotes/origin/next"),
        ("refs/pull/7/head", "refs/pull/7/head"),
        ("pull/7/head", "refs/pull/7/head"),
    ],
)
def test_ref_by_name(ref, name):
    refs = parse_ls_remote(LISTED)
    assert find_ref(refs, ref, where="r") == Ref(name, refs.ids[name])


@pytest.mark.parametrize("ref", ["abcd", "ABCDEF0", A])
def test_what_may_be_a_commit(ref):
    assert find_ref(parse_ls_remote(LISTED), ref, where="r") is None


def test_for_unknown_names_similar_ones_are_suggested():
    with pytest.raises(SourceError) as caught:
        find_ref(parse_ls_remote(LISTED), "mainn", where="r")
    assert caught.value.remedy == "names there include: main"
    assert make_unknown_ref_error(Refs({"refs/pull/1": A}), "x", where="r").remedy == ""


@pytest.mark.parametrize(
    "ref", ["HEAD~1", "a b", "-x", "a..b", "@{1}", "a:b", "a\n", "/a", "a/", "a.lock", "a//b"]
)
def test_expressions_and_options_are_no_refs(ref):
    with pytest.raises(UsageError, match="not a name of a branch"):
        check_ref(ref)


COMPLAINTS = {
    ("error: cannot run ssh: No such file or directory\nfatal: unable to fork"): "ssh is not installed",
    (
        "ssh: Could not resolve hostname h.org: Name or service not known\nfatal: Could not read from remote"
    ): "host name cannot be resolved",
    (
        "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository."
    ): "rejects the ssh key",
    ('Load key "/k": invalid format\nfatal: Could not read'): "ssh key cannot be used",
    (
        "ERROR: Repository not found.\nfatal: Could not read from remote repository."
    ): "the repository does not exist",
    "remote: ERROR: The project you were looking for could not be found": "the repository does not exist",
    "fatal: unable to access 'https://h.org/': SSL certificate problem: x": "certificate is not",
    "fatal: unable to access 'https://h/': server certificate verification failed.": "certificate",
    "fatal: unable to access 'https://h/': Failed to connect to h port 443: timed out": "cannot be reached",
    (
        "error: RPC failed; curl 56\nfatal: early EOF\nfatal: fetch-pack: invalid index-pack output"
    ): "connection was lost",
    "fatal: detected dubious ownership in repository at '/srv/r'": "belongs to another user",
    "fatal: https://h/r.git/info/refs not valid: is this a git repository?": "such as a login page",
    "fatal: mismatched algorithms: client sha1; server sha256": "SHA-256",
    "fatal: write error: No space left on device": "no disk space left",
    "fatal: transport 'ext' not allowed": "not allowed",
    "fatal: Out of memory, malloc failed (tried to allocate 9 bytes)": "more memory than git",
    "fatal: unable to access 'http://h/': Could not resolve proxy: nowhere": "the proxy that the environment",
    "fatal: unable to access 'http://h/': Unsupported proxy syntax in ':'": "the proxy that the environment",
    (
        "@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@\nHost key verification failed."
    ): "ssh key of its host has changed",
    ("No ED25519 host key is known for h.org\nHost key verification failed."): "is unknown",
    "fatal: Authentication failed for 'https://h.org/r.git/'": "refused the login",
    "fatal: unable to access 'https://h.org/r/': The requested URL returned error: 502": "cannot answer now",
}


@pytest.mark.parametrize(("words", "meaning"), COMPLAINTS.items())
def test_complaints_of_git(words, meaning):
    error = translate_error(words, parse_source_address("https://ada:s3cret@h.org/r.git"))
    assert meaning in str(error)
    assert str(error).startswith("https://h.org/r.git: ")
    assert error.remedy
    assert "\n" not in str(error)
    assert "s3cret" not in str(error)


def test_every_rule_has_a_complaint_that_it_alone_answers():
    place = parse_source_address("https://h.org/r.git")
    messages = {str(translate_error(words, place)) for words in COMPLAINTS}
    assert [rule.message for rule in RULES if f"{place.shown}: {rule.message}" not in messages] == []


def test_only_temporary_errors_are_retried():
    place = parse_source_address("https://h.org/r.git")
    again = {words for words in COMPLAINTS if isinstance(translate_error(words, place), SourceUnreachable)}
    assert {COMPLAINTS[words] for words in again} == {
        "host name cannot be resolved", "cannot be reached", "connection was lost", "cannot answer now",
        "the proxy that the environment",
    }  # fmt: skip


def test_unknown_complaint_is_passed_on_without_secrets_and_controls():
    words = "hint: x\nfatal: new \x1b[31mtrouble with https://ada:s3cret@h.org/r?t=s3cret"
    error = translate_error(words, parse_source_address("https://ada:s3cret@h.org/r"))
    assert str(error).isprintable()
    assert "fatal: new" in str(error)
    assert "s3cret" not in str(error)


def test_ownership_remedy_names_the_folder():
    words = "fatal: detected dubious ownership in repository at '/srv/r'\nTo add an exception"
    assert translate_error(words, parse_source_address("file:///srv/r")).remedy.endswith(
        "safe.directory /srv/r"
    )


def test_the_first_line_is_shown():
    assert take_first_line("\n  Title \n\nbody") == "Title"
    assert take_first_line("") == ""
    assert take_first_line("a\x1b]0;x\x07b").isprintable()
    assert len(take_first_line("x" * 500)) == 200
    assert shown_path("a\nb") == "'a\\nb'"
