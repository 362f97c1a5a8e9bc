"""Tarballs by path and over http: ETag, pins, and servers that answer something else."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import re
import socket
import ssl
import tarfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest
from support.certificates import write_certificate
from support.git_repositories import serving

from reconciler.errors import SourceError, SourceUnreachable, UsageError
from reconciler.sources.content_limits import SourceLimits
from reconciler.sources.signatures.trust import Trust
from reconciler.sources.source_address import parse_source_address
from reconciler.sources.tarball import TarballFileSource, TarballOptions, TarballUrlSource

TOKEN = "planted-source-token-77"


pytestmark = pytest.mark.usefixtures("git_alone")


def tarball(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as writer:
        for name, text in files.items():
            info = tarfile.TarInfo(f"repo/{name}")
            info.size = len(text)
            writer.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(buffer.getvalue(), mtime=0)


ONE = tarball(fleet="one", other="x")
TWO = tarball(fleet="two", other="x")


@dataclass
class Site:
    """What a server answers, to be changed while it runs, and what it was asked."""

    body: bytes = ONE
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str = ""
    modified: str = ""
    announced: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    silent: threading.Event | None = None
    url: str = ""


@contextmanager
def site(**given):
    made = Site(**given)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            made.asked.append({key.lower(): value for key, value in self.headers.items()})
            made.paths.append(self.path)
            if made.silent:
                made.silent.wait(20)
                return
            unchanged = made.etag and self.headers.get("If-None-Match") == made.etag
            unchanged = unchanged or (
                made.modified and self.headers.get("If-Modified-Since") == made.modified
            )
            body = b"" if unchanged else made.body
            self.send_response(304 if unchanged else made.status)
            fields = {"ETag": made.etag, "Last-Modified": made.modified, **made.headers}
            for key, value in fields.items():
                if value:
                    self.send_header(key, value)
            if not unchanged:
                self.send_header("Content-Length", str(made.announced or len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *_):
            """Say nothing on the terminal."""

    with serving(Answers) as url:
        made.url = url
        yield made


async def test_tarball_by_path(at, tmp_path):
    file = tmp_path / "fleet.tgz"
    file.write_bytes(ONE)
    source = at(file)

    taken = await source.snapshot()

    digest = taken.revision.id
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert (taken.revision.short, taken.revision.title) == (digest[:12], "fleet.tgz")
    assert taken.revision.source == str(file)
    assert taken.files.read("fleet") == b"one"
    assert await source.snapshot() is taken

    os.utime(file, ns=(1, 1))
    assert await source.snapshot() is taken, "touched is not changed"
    file.write_bytes(TWO)
    assert (await source.snapshot()).files.read("fleet") == b"two"


def archive(files, *, kind="w:gz", top="", links=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind) as made:
        for name, data in files.items():
            member = tarfile.TarInfo(top + name)
            member.size, member.mtime = len(data), 7 * len(top)
            made.addfile(member, io.BytesIO(data))
        for name, target in links:
            member = tarfile.TarInfo(top + name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            made.addfile(member)
    return buffer.getvalue()


FILES = {"fleet.yaml": b"x", "edge/a.json": b"y"}


@pytest.mark.parametrize(
    ("data", "same"),
    [
        (archive(FILES, kind="w"), True),
        (archive(FILES, links=[("._x", "nowhere")]), True),
        (archive(dict(reversed(FILES.items()))), True),
        (archive(FILES, top="fleet-4f2a/"), True),
        (archive({**FILES, "edge/a.json": b"z"}), False),
        (archive({"fleet.yaml": b"x", "edge/b.json": b"y"}), False),
        (archive({"fleet.yaml": b"xy", "edge/a.json": b""}), False),
        (archive(FILES, links=[("edge/b.json", "a.json")]), False),
        (archive(FILES, links=[("edge/b.json", "nowhere")]), False),
    ],
)
async def test_the_same_files_packed_otherwise_are_the_same_revision(at, tmp_path, data, same):
    (tmp_path / "a.tgz").write_bytes(archive(FILES))
    (tmp_path / "b.tgz").write_bytes(data)
    ids = [(await at(tmp_path / f"{name}.tgz").snapshot()).revision.id for name in "ab"]
    assert (ids[0] == ids[1]) is same


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda file: file.write_bytes(b"x" * 65_537), "has more than 65,536 bytes"),
        (os.mkfifo, "is not a reg"),
    ],
    ids=["too large", "a pipe"],
)
async def test_a_signature_that_cannot_be_read_is_refused(tmp_path, make, why):
    file = tmp_path / "fleet.tgz"
    file.write_bytes(ONE)
    make(file.with_name(f"{file.name}.sig"))
    source = TarballFileSource(file, TarballOptions(trust=Trust("ssh", tmp_path / "signers")))
    with pytest.raises(SourceError, match=f"fleet.tgz.sig {why}"):
        await source.snapshot()


async def test_whoever_goes_back_to_an_archive_names_its_revision_or_its_own_digest(at, tmp_path):
    file = tmp_path / "fleet.tgz"
    file.write_bytes(ONE)
    known = (await at(file).snapshot()).revision.id
    for name in (known, known[:12], hashlib.sha256(ONE).hexdigest()[:12].upper()):
        assert (await at(file, ref=name, is_rollback=True).snapshot()).revision.id == known
    for name in (known[:3], "0" * 12, "main"):
        with pytest.raises(SourceError, match=f"is now revision {known[:12]}, not {name}"):
            await at(file, ref=name, is_rollback=True).snapshot()


async def test_tarball_by_path_that_goes_away(at, tmp_path):
    file = tmp_path / "fleet.tar.gz"
    file.write_bytes(ONE)
    source = at(file)
    file.unlink()
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        await source.snapshot()


async def test_pinned_digest_is_compared_before_unpacking(at, tmp_path):
    file = tmp_path / "fleet.tgz"
    file.write_bytes(b"no archive at all")
    with pytest.raises(SourceError, match="it was not unpacked") as caught:
        await at(file, sha256="0" * 64).snapshot()
    assert hashlib.sha256(b"no archive at all").hexdigest() in str(caught.value)
    file.write_bytes(ONE)
    pin = f"sha256:{hashlib.sha256(ONE).hexdigest().upper()}"
    assert (await at(file, sha256=pin).snapshot()).files.read("fleet") == b"one"


async def test_too_large_on_disk(tmp_path):
    file = tmp_path / "fleet.tgz"
    file.write_bytes(ONE)
    with pytest.raises(SourceError, match="is larger than 10 bytes"):
        await TarballFileSource(file, TarballOptions(limits=SourceLimits(download_bytes=10))).snapshot()


@pytest.mark.parametrize("named", [{"etag": '"one"'}, {"modified": "Wed, 21 Oct 2026 07:28:00 GMT"}])
async def test_unchanged_archive_is_not_sent_again(at, named):
    with site(**named) as server:
        url = f"{server.url}/fleet.tar.gz"
        source = at(url)
        first = await source.snapshot()
        assert await source.snapshot() is first
        anew = await at(url).snapshot()

    assert "if-none-match" not in server.asked[0]
    assert "if-modified-since" not in server.asked[0]
    key = "if-none-match" if "etag" in named else "if-modified-since"
    assert [request[key] for request in server.asked[1:]] == list(named.values()) * 2
    assert anew.revision == first.revision
    assert anew.files.read("fleet") == b"one"


async def test_changed_archive_is_taken(at):
    with site(etag='"one"') as server:
        source = at(f"{server.url}/fleet.tar.gz?signature=s3cret")
        first = await source.snapshot()
        server.body, server.etag = TWO, '"two"'
        second = await source.snapshot()

    assert (first.files.read("fleet"), second.files.read("fleet")) == (b"one", b"two")
    assert second.revision.source == f"{server.url}/fleet.tar.gz"
    assert second.revision.title == "fleet.tar.gz"


async def test_damaged_memory_is_not_used(at, tmp_path):
    with site(etag='"one"') as server:
        await at(f"{server.url}/fleet.tgz").snapshot()
        (kept,) = (tmp_path / "cache/tarball").iterdir()
        kept.write_bytes(kept.read_bytes()[:-1])
        taken = await at(f"{server.url}/fleet.tgz").snapshot()

    assert "if-none-match" not in server.asked[1]
    assert taken.files.read("fleet") == b"one"


async def test_refused_archive_is_not_remembered(at):
    with site(body=b"rubbish" * 100, etag='"one"') as server:
        for _ in range(2):
            with pytest.raises(SourceError, match="is not a tar archive"):
                await at(f"{server.url}/fleet.tgz").snapshot()
    assert "if-none-match" not in server.asked[1]


async def test_pinned_archive_survives_an_outage(at):
    pin = hashlib.sha256(ONE).hexdigest()
    with site() as server:
        url = f"{server.url}/fleet.tgz"
        await at(url, sha256=pin).snapshot()
    assert (await at(url, sha256=pin).snapshot()).files.read("fleet") == b"one"
    with pytest.raises(SourceUnreachable):
        await at(url).snapshot()


async def test_pin_over_http(at):
    with site() as server, pytest.raises(SourceError, match="it was not unpacked"):
        await at(f"{server.url}/download", sha256="0" * 64).snapshot()


REFUSED = SourceError
UNREACHABLE = SourceUnreachable


def redirect(to: str) -> dict:
    return {"status": 302, "headers": {"Location": to}}


@pytest.mark.parametrize(
    ("given", "kind", "words", "remedy"),
    [
        ({"status": 401}, REFUSED, "answered 401: authentication is required", "RECONCILE_SOURCE_TOKEN"),
        ({"status": 403}, REFUSED, "answered 403: access is denied", "RECONCILE_SOURCE_TOKEN"),
        ({"status": 404}, REFUSED, "answered 404: not found", "may need a token"),
        ({"status": 410}, REFUSED, "answered 410: not found", "URL"),
        ({"status": 429}, UNREACHABLE, "answered 429: the server cannot answer now", "later"),
        ({"status": 500}, UNREACHABLE, "answered 500: the server cannot answer now", "later"),
        ({"status": 503}, UNREACHABLE, "answered 503: the server cannot answer now", "later"),
        ({"status": 418}, REFUSED, "answered 418 instead of an archive", "URL"),
        ({"status": 304, "body": b""}, REFUSED, "answered 304 instead of an archive", "URL"),
        ({"body": b"<!DOCTYPE html><title>Sign in"}, REFUSED, "answered with a web page", "login page"),
        (
            {"body": b"Sign in", "headers": {"Content-Type": "text/html; charset=utf-8"}},
            REFUSED, "answered with a web page", "RECONCILE_SOURCE_TOKEN",
        ),
        ({"body": b'{"error": 1}'}, REFUSED, "is not a tar archive", "again"),
        ({"body": b""}, REFUSED, "is not a tar archive", "again"),
        ({"body": ONE[:-30]}, REFUSED, "is truncated", "again"),
        ({"announced": len(ONE) + 5}, UNREACHABLE, "sent an incomplete response", "again"),
        (redirect("ftp://x/y"), REFUSED, "redirects to a ftp address", ""),
        (redirect("http://[::1"), UNREACHABLE, "sent an incomplete response", ""),
        (redirect("/a%07b"), REFUSED, "redirects to an invalid URL", ""),
        (redirect("/again.tgz"), REFUSED, "redirects more than 5 times", ""),
    ],
)  # fmt: skip
async def test_answers_that_are_no_archive(at, given, kind, words, remedy):
    with site(**given) as server, pytest.raises(SourceError, match=words) as caught:
        await at(f"{server.url}/fleet.tgz?token=s3cret").snapshot()
    assert type(caught.value) is kind
    assert remedy in caught.value.remedy
    assert str(caught.value).startswith(f"{server.url}/fleet.tgz")
    assert "s3cret" not in f"{caught.value}{caught.value.remedy}"


async def test_archive_that_is_called_a_web_page_or_encoded_is_still_one(at):
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    with site(headers=headers) as server:
        taken = await at(f"{server.url}/fleet.tgz").snapshot()
    assert taken.files.read("fleet") == b"one"
    assert server.asked[0]["accept-encoding"] == "identity"


async def test_silent_server_is_not_waited_for(tmp_path):
    with site(silent=threading.Event()) as server:
        source = TarballUrlSource(
            parse_source_address(f"{server.url}/x.tgz"), TarballOptions(), cache=tmp_path, seconds=0.2
        )
        with pytest.raises(SourceUnreachable, match="did not answer in time"):
            await source.snapshot()
        server.silent.set()


async def test_nobody_listens_and_no_such_host(at):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceUnreachable, match="cannot be reached: connection refused") as refused:
        await at(f"http://127.0.0.1:{port}/x.tgz").snapshot()
    assert "SSL_CERT_FILE" not in refused.value.remedy
    with pytest.raises(SourceUnreachable, match="cannot be reached: its host name cannot be resolved"):
        await at("http://nowhere.invalid/x.tgz").snapshot()


async def test_a_certificate_that_is_not_trusted_is_told_in_plain_words(at, tmp_path):
    files = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["certificate"], files["key"])
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(
            SourceUnreachable, match="its certificate is not trusted: it is signed by"
        ) as told:
            await at(f"https://127.0.0.1:{port}/x.tgz").snapshot()
    assert "set SSL_CERT_FILE" in told.value.remedy


async def test_bounds_on_the_download(tmp_path):
    with site(body=bytes(100_000)) as server:
        packing = TarballOptions(limits=SourceLimits(download_bytes=50_000))
        with pytest.raises(SourceError, match=r"is larger than 48.8 KB"):
            await TarballUrlSource(
                parse_source_address(f"{server.url}/x.tgz"), packing, cache=tmp_path
            ).snapshot()


async def test_bomb_over_http(at):
    bomb = gzip.compress(bytes(40 * 1024 * 1024))
    with site(body=bomb) as server, pytest.raises(SourceError, match="times its own"):
        await at(f"{server.url}/x.tgz").snapshot()


async def test_token_goes_to_its_host_alone(at, tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILE_SOURCE_TOKEN", TOKEN)
    with site() as storage, site(status=302, headers={"Location": f"{storage.url}/blob?sig=1"}) as forge:
        taken = await at(f"{forge.url}/fleet.tgz").snapshot()

    assert taken.files.read("fleet") == b"one"
    assert forge.asked[0]["authorization"] == f"Bearer {TOKEN}"
    assert "authorization" not in storage.asked[0]
    kept = [file.read_bytes() for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert kept
    assert [data for data in kept if TOKEN.encode() in data or b"sig=1" in data] == []


async def test_user_and_password_of_the_url(at):
    with site() as server:
        taken = await at(server.url.replace("://", f"://ada:{TOKEN}@") + "/fleet.tgz").snapshot()
    assert server.asked[0]["authorization"].startswith("Basic ")
    assert TOKEN not in repr(taken.revision)


async def test_token_that_cannot_be_one(at, monkeypatch):
    monkeypatch.setenv("RECONCILE_SOURCE_TOKEN", f"{TOKEN}\r\nX-Other: 1")
    with pytest.raises(UsageError, match="RECONCILE_SOURCE_TOKEN") as caught:
        await at("http://127.0.0.1:1/x.tgz").snapshot()
    assert TOKEN not in str(caught.value)


async def test_redirect_within_the_host_keeps_the_token(at, monkeypatch):
    monkeypatch.setenv("RECONCILE_SOURCE_TOKEN", TOKEN)
    there = {"Location": "/real.tgz"}
    with site(status=307, headers=there) as server, pytest.raises(SourceError, match="more than 5 times"):
        await at(f"{server.url}/fleet.tgz").snapshot()
    assert {request["authorization"] for request in server.asked} == {f"Bearer {TOKEN}"}
    assert server.paths == ["/fleet.tgz", *["/real.tgz"] * 5]


@pytest.mark.parametrize("route", ["/archive/main", "/archive?ref=main"])
async def test_url_that_does_not_tell_its_kind(at, route):
    with site() as server:
        taken = await at(f"{server.url}{route}").snapshot()
    assert taken.files.read("fleet") == b"one"
    assert taken.revision.title in ("main", "archive")
