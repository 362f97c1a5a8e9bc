"""Git sources over http: tokens that show nowhere, and servers that refuse."""

from __future__ import annotations

import os
import stat
from http.server import BaseHTTPRequestHandler

import pytest
from support.git_repositories import Repository, git, http_server, serving

from reconciler.errors import SourceError, SourceUnreachable, UsageError
from reconciler.sources.locate import locate_source

SECRET = "planted-token-1f9c"


pytestmark = pytest.mark.usefixtures("git_alone")


@pytest.fixture
def work(tmp_path):
    made = Repository.make(tmp_path / "work", {"fleet.yaml": "clusters: []\n"})
    made.bare(tmp_path / "served" / "r.git")
    return made


@pytest.fixture
def served(work, tmp_path):
    with http_server(tmp_path / "served") as server:
        yield server


@pytest.fixture
def guarded(work, tmp_path):
    with http_server(tmp_path / "served", user="x-access-token", password=SECRET) as server:
        yield server


@pytest.fixture
def arguments_of_git(tmp_path, monkeypatch):
    """Puts a git first on the PATH that notes all its arguments."""
    real = next(
        f"{folder}/git" for folder in os.environ["PATH"].split(":") if os.access(f"{folder}/git", os.X_OK)
    )
    log = tmp_path / "arguments"
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {log}\nexec {real} "$@"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    return log


async def test_public_repository(served, work, tmp_path):
    source = locate_source(f"{served.url}/r.git", cache=tmp_path / "cache")

    taken = await source.snapshot()

    assert taken.revision.id == work.head
    assert taken.files.read("fleet.yaml") == b"clusters: []\n"
    assert taken.revision.source == f"{served.url}/r.git"


async def test_looking_again_fetches_nothing(served, tmp_path):
    source = locate_source(f"{served.url}/r.git", cache=tmp_path / "cache")
    first = await source.snapshot()
    served.asked.clear()

    assert await source.snapshot() is first
    asked = [request.partition("?")[0] for request in served.asked]
    assert asked == ["GET /r.git/info/refs", "POST /r.git/git-upload-pack"], "the list of refs alone"


async def test_push_is_seen(served, work, tmp_path):
    source = locate_source(f"{served.url}/r.git", ref="main", cache=tmp_path / "cache")
    await source.snapshot()
    new = work.commit({"new": "new"})
    git(work.folder, "push", "--quiet", str(tmp_path / "served/r.git"), "main")

    assert (await source.snapshot()).revision.id == new


async def test_old_commit_by_full_and_by_abbreviated_id(served, work, tmp_path):
    old = work.head
    work.commit({"new": "new"})
    git(work.folder, "push", "--quiet", str(tmp_path / "served/r.git"), "main")

    for ref in (old, old[:7]):
        taken = await locate_source(f"{served.url}/r.git", ref=ref, cache=tmp_path / ref).snapshot()
        assert taken.revision.id == old


async def test_server_that_gives_tips_only_still_gives_an_old_commit(served, work, tmp_path, monkeypatch):
    """Protocol 0 refuses ids that are no tips: all is fetched then."""
    old = work.head
    work.commit({"new": "new"})
    git(work.folder, "push", "--quiet", str(tmp_path / "served/r.git"), "main")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.version")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "0")

    taken = await locate_source(f"{served.url}/r.git", ref=old, cache=tmp_path / "cache").snapshot()

    assert taken.revision.id == old


async def test_token_opens_and_shows_nowhere(guarded, work, tmp_path, monkeypatch, arguments_of_git):
    monkeypatch.setenv("RECONCILE_GIT_TOKEN", SECRET)
    store = tmp_path / "stored-credentials"
    (tmp_path / "gitconfig").write_text(f"[credential]\n helper = store --file={store}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))

    taken = await locate_source(f"{guarded.url}/r.git", cache=tmp_path / "cache").snapshot()

    assert taken.revision.id == work.head
    assert any(guarded.authorizations)
    assert "ls-remote" in arguments_of_git.read_text()
    assert SECRET not in arguments_of_git.read_text()
    kept = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert kept
    assert not [file for file in kept if SECRET.encode() in file.read_bytes()]
    assert not store.exists(), "the user's own helper does not get to store it"
    assert SECRET not in repr(taken)


async def test_only_the_commands_that_reach_the_repository_get_the_token(
    guarded, work, tmp_path, monkeypatch
):
    real = next(
        f"{folder}/git" for folder in os.environ["PATH"].split(":") if os.access(f"{folder}/git", os.X_OK)
    )
    log, fake = tmp_path / "seen", tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(
        f"#!/bin/sh\necho \"$(env | grep -c '{SECRET}')|$*\" | tr '\\n' ' ' >> {log}\n"
        f'echo >> {log}\nexec {real} "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    (tmp_path / "token").write_text(f"{SECRET}\n")
    tokens = {"RECONCILE_GIT_TOKEN_FILE": str(tmp_path / "token"), "RECONCILE_SECRET_OTHER": SECRET}
    environment = {**os.environ, **tokens}

    source = locate_source(f"{guarded.url}/r.git", cache=tmp_path / "cache", environment=environment)
    taken = await source.snapshot()
    await source.ancestors(taken.revision.id)

    rows = [row.split("|", 1) for row in log.read_text().splitlines()]
    got = {words for count, words in rows if int(count)}
    assert any("ls-remote" in words for words in got), got
    assert any(" fetch " in words for words in got), got
    assert not {words for words in got if "ls-remote" not in words and " fetch " not in words}
    assert {words for count, words in rows if not int(count)}


async def test_user_and_password_in_the_url_show_nowhere(guarded, work, tmp_path, arguments_of_git):
    url = guarded.url.replace("http://", f"http://x-access-token:{SECRET}@")
    source = locate_source(f"{url}/r.git", cache=tmp_path / "cache")

    taken = await source.snapshot()

    assert taken.revision.source == f"{guarded.url}/r.git"
    assert SECRET not in arguments_of_git.read_text()
    assert SECRET not in repr(vars(source))


async def test_credential_helper_of_the_user_is_asked_without_a_token(guarded, work, tmp_path, monkeypatch):
    (tmp_path / "gitconfig").write_text(
        f'[credential]\n helper = "!f() {{ echo username=x-access-token; echo password={SECRET}; }}; f"\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))

    assert (
        await locate_source(f"{guarded.url}/r.git", cache=tmp_path / "cache").snapshot()
    ).revision.id == work.head


@pytest.mark.parametrize("token", ["", "wrong-token"])
async def test_refused_without_or_with_a_wrong_token(guarded, tmp_path, monkeypatch, token):
    monkeypatch.setenv("RECONCILE_GIT_TOKEN", token)

    with pytest.raises(SourceError, match="refused the login") as caught:
        await locate_source(f"{guarded.url}/r.git", cache=tmp_path / "cache").snapshot()

    assert "RECONCILE_GIT_TOKEN" in caught.value.remedy
    assert not token or token not in f"{caught.value}{caught.value.remedy}"


async def test_token_is_not_sent_to_a_host_that_a_redirect_names(guarded, tmp_path, monkeypatch):
    """The helper answers for the host of the URL only; the port is part of it."""

    class Redirects(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", guarded.url + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Say nothing on the terminal."""

    monkeypatch.setenv("RECONCILE_GIT_TOKEN", SECRET)
    with serving(Redirects) as url, pytest.raises(SourceError, match="refused the login"):
        await locate_source(f"{url}/r.git", cache=tmp_path / "cache").snapshot()
    assert guarded.asked
    assert not any(guarded.authorizations)


async def test_token_with_a_line_end_is_refused_unseen(guarded, tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILE_GIT_TOKEN", f"{SECRET}\nusername=other")

    with pytest.raises(UsageError, match="RECONCILE_GIT_TOKEN") as caught:
        await locate_source(f"{guarded.url}/r.git", cache=tmp_path / "cache").snapshot()
    assert SECRET not in str(caught.value)


async def test_repository_that_is_not_there(served, tmp_path):
    with pytest.raises(SourceError, match=r"the repository does not exist") as caught:
        await locate_source(f"{served.url}/none.git", cache=tmp_path / "cache").snapshot()
    assert str(caught.value).startswith(f"{served.url}/none.git: ")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, SourceError, "refused the login"),
        (404, SourceError, "the repository does not exist"),
        (429, SourceUnreachable, "cannot answer now"),
        (500, SourceUnreachable, "cannot answer now"),
        (503, SourceUnreachable, "cannot answer now"),
    ],
)
async def test_status_in_words(work, tmp_path, status, kind, words):
    with (
        http_server(tmp_path / "served", status=status) as server,
        pytest.raises(SourceError, match=words) as caught,
    ):
        await locate_source(f"{server.url}/r.git", cache=tmp_path / "cache").snapshot()
    assert type(caught.value) is kind


async def test_nobody_listens(work, tmp_path):
    with http_server(tmp_path / "served") as server:
        url = server.url

    with pytest.raises(SourceUnreachable, match="cannot be reached"):
        await locate_source(f"{url}/r.git", cache=tmp_path / "cache").snapshot()


async def test_after_an_outage_the_same_source_goes_on(work, tmp_path):
    with http_server(tmp_path / "served") as server:
        source = locate_source(f"{server.url}/r.git", cache=tmp_path / "cache")
        first = await source.snapshot()
    with pytest.raises(SourceUnreachable):
        await source.snapshot()

    assert first.files.read("fleet.yaml") == b"clusters: []\n"


async def test_url_that_does_not_tell_its_kind_is_asked(served, work, tmp_path):
    (tmp_path / "served/r.git").rename(tmp_path / "served/r")

    taken = await locate_source(f"{served.url}/r", cache=tmp_path / "cache").snapshot()

    assert taken.revision.id == work.head
    assert served.asked[0] == "GET /r"


LOGIN = "<title>Sign in</title>"


@pytest.mark.parametrize("page", [LOGIN, f"<!DOCTYPE html>\n<html>\n{LOGIN}\n</html>\n", "", "a\tb\n"])
async def test_a_web_page_is_not_called_an_empty_repository(page, tmp_path):
    class Portal(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    with serving(Portal) as url:
        source = locate_source(f"{url}/r.git", cache=tmp_path / "cache")
        with pytest.raises(SourceError, match="no git repository, such as a login page") as caught:
            await source.snapshot()
    assert "RECONCILE_GIT_TOKEN" in caught.value.remedy


async def test_an_empty_repository_is_called_empty(tmp_path):
    (tmp_path / "served").mkdir()
    git(tmp_path, "init", "--quiet", "--bare", str(tmp_path / "served" / "r.git"))
    with http_server(tmp_path / "served") as server:
        source = locate_source(f"{server.url}/r.git", cache=tmp_path / "cache")
        with pytest.raises(SourceError, match="is an empty repository"):
            await source.snapshot()
