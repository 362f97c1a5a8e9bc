"""Downloads through real proxies, around them, and with variables that name what cannot be used."""

from __future__ import annotations

import io
import tarfile
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler

import pytest
from support.git_repositories import alone, serving
from support.watch_process import Stage

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.sources.locate import locate_source
from reconciler.transports.bundle import open_transports


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    alone(monkeypatch, tmp_path)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def archive(text: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        info = tarfile.TarInfo("fleet.yaml")
        info.size = len(text)
        packed.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


class Answering:
    """A server, or a proxy: it gives an archive that says who it is, and keeps what it was asked."""

    def __init__(self, name: str, stack: ExitStack, status: int = 200) -> None:
        self.asked: list[str] = []
        self.given: list[str] = []
        here = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                here.asked.append(self.path)
                here.given.append(self.headers.get("Proxy-Authorization", ""))
                body = archive(name.encode())
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Say nothing on the terminal."""

        self.url = stack.enter_context(serving(Handler))


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


async def read(url, tmp_path, **environment):
    source = locate_source(url, cache=tmp_path / "cache", environment=environment)
    return (await source.snapshot()).files.read("fleet.yaml").decode()


async def test_the_proxy_is_asked_and_hosts_that_need_none_are_not(stack, tmp_path):
    server, proxy = Answering("server", stack), Answering("proxy", stack)
    url = f"{server.url}/x.tgz"
    named = proxy.url.replace("http://", "http://user:secret@")

    assert await read(url, tmp_path, ALL_PROXY=named) == "proxy"
    assert proxy.asked == [url]
    assert proxy.given[0].startswith("Basic ")
    for direct in ("127.0.0.0/8", "localhost,fd00::/8 127.0.0.1"):
        assert await read(url, tmp_path, ALL_PROXY=named, NO_PROXY=direct) == "server"
    assert await read(url, tmp_path, ALL_PROXY="socks5://127.0.0.1:9", no_proxy="127.0.0.1") == "server"


async def test_variables_that_do_not_count_for_this_url_are_not_looked_at(stack, tmp_path):
    server = Answering("server", stack)
    odd = {
        "HTTPS_PROXY": "nonsense",
        "SSL_CERT_FILE": str(tmp_path / "nothing"),
        "REQUESTS_CA_BUNDLE": "/nothing",
    }
    odd |= {"NO_PROXY": "localhost,fd00::/8,[::", "NETRC": "/nothing"}
    assert await read(f"{server.url}/x.tgz", tmp_path, **odd) == "server"


@pytest.mark.parametrize(
    ("variable", "value", "kind", "words"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", SourceError, "the variable ALL_PROXY sets the proxy"),
        ("http_proxy", "http://[::1", SourceError, "the variable http_proxy does not contain the URL"),
        (
            "http_proxy",
            "http://user:secret@127.0.0.1:1",
            SourceUnreachable,
            "proxy http://127.0.0.1:1, which http_proxy",
        ),
        ("http_proxy", f"http://{'a' * 70}.example:1", SourceError, "http_proxy"),
    ],
)
async def test_a_variable_that_is_to_blame_is_named(tmp_path, variable, value, kind, words):
    for path in ("x.tgz", "undecided"):
        with pytest.raises(kind, match=words) as caught:
            await read(f"http://192.0.2.1/{path}", tmp_path, **{variable: value})
        assert "secret" not in str(caught.value) + caught.value.remedy


async def test_a_proxy_that_wants_a_password_is_told_from_a_server_that_does(stack, tmp_path):
    proxy = Answering("proxy", stack, status=407)
    with pytest.raises(SourceError, match="407: the proxy requires a user name and a password"):
        await read("http://192.0.2.1/x.tgz", tmp_path, http_proxy=proxy.url)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (
            "SSL_CERT_FILE",
            "{here}/nothing",
            "SSL_CERT_FILE names .*nothing, which cannot be used: No such file",
        ),
        ("SSL_CERT_FILE", "{here}", "SSL_CERT_FILE names .*cannot be used"),
        ("SSL_CERT_FILE", "{here}/empty", "it contains no certificates"),
        ("SSL_CERT_DIR", "{here}/nothing", "SSL_CERT_DIR names .*nothing, which is not a folder"),
    ],
)
async def test_certificates_that_are_not_there_are_named_by_their_variable(tmp_path, variable, value, words):
    (tmp_path / "empty").write_text("")
    with pytest.raises(SourceError, match=words):
        await read("https://127.0.0.1:1/x.tgz", tmp_path, **{variable: value.format(here=tmp_path)})


async def test_a_host_name_that_cannot_be_asked_for_is_a_source_error(tmp_path):
    with pytest.raises(SourceError):
        await read(f"http://{'a' * 70}.example/x.tgz", tmp_path)


async def test_git_names_the_variable_of_the_proxy_that_it_cannot_reach(tmp_path, monkeypatch):
    for value in ("socks5://127.0.0.1:1", "http://127.0.0.1:99999"):
        with pytest.raises(SourceError) as caught:
            await read("http://192.0.2.1/x.git", tmp_path, PATH="/usr/bin:/bin", all_proxy=value)
        assert "all_proxy" in caught.value.remedy


async def test_no_variable_ends_a_watch(tmp_path, monkeypatch):
    stage = Stage(tmp_path)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost,fd00::/8")
    async with stage.watch("--poll", "0.2s", source="http://192.0.2.1/x.tgz") as watch:
        assert "ALL_PROXY" in (await watch.said("source failed"))["message"]
        assert "ALL_PROXY" in (await watch.get("/readyz")).text
        assert (await watch.get("/healthz")).status_code == 200
        watch.signal()
        assert await watch.ended() == 0


async def test_nodes_are_never_reached_through_a_proxy(monkeypatch, stack):
    node, proxy = Answering("node", stack), Answering("proxy", stack)
    for variable in ("ALL_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, proxy.url)
    async with open_transports() as transports:
        await transports.http.send("GET", f"{node.url}/setting", node="edge-01", timeout=10)
    assert (node.asked, proxy.asked) == (["/setting"], [])
