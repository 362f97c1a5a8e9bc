"""A small S3 server that verifies every signature, and can fail in the ways of the real one."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

from support.aws_requests import Keys, find_fault
from support.http_servers import listening

REGION = "eu-central-1"
BUCKET = "m2-backups"
PAGE = 3
FORM = re.compile(rb"([A-Z]+) (\S+) HTTP/1.1\r\n")
REASONS = {200: "OK", 301: "Moved", 304: "Not Modified", 400: "Bad", 403: "Forbidden", 404: "Not Found"}


class S3Server:
    """Buckets in memory, with the objects that a test puts there.

    Args:
        keys: of the one user.
    """

    def __init__(self, keys=None):
        self.keys = keys or Keys()
        self.region = REGION
        self.objects: dict[str, bytes] = {}
        self.modified: dict[str, datetime] = {}
        self.requests: list[str] = []
        self.clock = timedelta()
        self.fail: Callable[[str, str], tuple[int, str, dict[str, str]] | None] = lambda method, target: None
        self.endpoint = ""
        self.denied: set[str] = set()
        self.etags = True

    def put(self, key: str, body: bytes, *, modified: datetime | None = None) -> None:
        self.objects[key] = body
        self.modified[key] = modified or datetime.now(UTC)

    def put_backup(self, time: str, package: bytes, *, prefix: str = "m2", feed: bool = True) -> str:
        """A backup as M2 writes it: the package, and then the feed."""
        key = f"{prefix}/settings/{time[:4]}/{time[4:6]}/setting_{time}.tgz"
        self.put(key, package)
        if feed:
            self.put_feed(key, prefix=prefix)
        return key

    def put_feed(self, key: str, *, prefix: str = "m2") -> None:
        self.put(f"{prefix}/feed.json", make_feed(f"https://{BUCKET}.s3.{REGION}.amazonaws.com/{key}"))

    async def serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line = FORM.match(head)
                rows = head[line.end() :].decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (row.partition(": ") for row in rows if row)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, target = line[1].decode(), line[2].decode()
                writer.write(self.answer(method, target, headers, body))
                await writer.drain()
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, method, target, headers, body):
        self.requests.append(f"{method} {target}")
        now = datetime.now(UTC) + self.clock
        if failure := self.fail(method, target):
            status, text, more = failure
            return self._make(status, text.encode(), now, **more)
        fault = find_fault(method, target, headers, body, keys=self.keys, region=self.region, now=now)
        if fault:
            region = f"<Region>{self.region}</Region>" if fault == "AuthorizationHeaderMalformed" else ""
            return self._error(400 if region else 403, fault, now, region)
        path, _, query = target.partition("?")
        bucket, _, key = unquote(path).removeprefix("/").partition("/")
        if bucket != BUCKET:
            return self._error(404, "NoSuchBucket", now)
        return self._get(key, headers, now) if key else self._list(parse_qs(query), now)

    def _get(self, key, headers, now):
        if key in self.denied:
            return self._error(403, "AccessDenied", now)
        if key not in self.objects:
            return self._error(404, "NoSuchKey", now)
        found = self.objects[key]
        etag = f'"{hashlib.md5(found).hexdigest()}"'
        more = {"Last_Modified": format_datetime(self.modified[key], usegmt=True)}
        more |= {"ETag": etag} if self.etags else {}
        if self.etags and headers.get("if-none-match") == etag:
            return self._make(304, b"", now, **more)
        return self._make(200, found, now, **more)

    def _list(self, query, now):
        prefix, after = query.get("prefix", [""])[0], query.get("start-after", [""])[0]
        after = query.get("continuation-token", [after])[0]
        names = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        folders = set()
        if "delimiter" in query:
            folders = {
                prefix + one[len(prefix) :].partition("/")[0] + "/"
                for one in names
                if "/" in one[len(prefix) :]
            }
            names = [one for one in names if "/" not in one[len(prefix) :]]
        page = names[:PAGE]
        cut = len(names) > PAGE
        text = "".join(f"<Contents><Key>{escape(quote(key))}</Key><Size>1</Size></Contents>" for key in page)
        text += "".join(
            f"<CommonPrefixes><Prefix>{quote(one)}</Prefix></CommonPrefixes>" for one in sorted(folders)
        )
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if cut else ""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>'
            f"<IsTruncated>{'true' if cut else 'false'}</IsTruncated>{more}{text}</ListBucketResult>"
        )
        return self._make(200, body.encode(), now)

    def _error(self, status, code, now, more=""):
        text = f"<Error><Code>{code}</Code><Message>SERVER-WORDS</Message>{more}</Error>"
        return self._make(status, text.encode(), now)

    @staticmethod
    def _make(status, body, now, **headers):
        rows = {"Date": format_datetime(now, usegmt=True), "Content-Length": str(len(body)), **headers}
        if status == 304:
            del rows["Content-Length"]
        text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in rows.items())
        return f"HTTP/1.1 {status} {REASONS.get(status, 'X')}\r\n{text}\r\n".encode() + body


@asynccontextmanager
async def s3_serving(server=None):
    """A running server."""
    server = server or S3Server()
    async with listening(server.serve) as url:
        server.endpoint = url
        yield server


@contextmanager
def s3_in_thread(server=None):
    """A running server for a test without an event loop."""
    server = server or S3Server()
    loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def run():
        async with s3_serving(server):
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()


def make_host_file(folder, server, **more):
    """A host configuration with which this host may read the bucket; gives its path."""
    keys = folder / "aws-keys"
    keys.write_text(
        f"[default]\naws_access_key_id = {server.keys.id}\naws_secret_access_key = {server.keys.secret}\n"
    )
    keys.chmod(0o600)
    s3 = {"buckets": [BUCKET], "endpoint": server.endpoint, "path_style": True}
    account = {"region": REGION, "credentials": str(keys), "s3": s3}
    file = folder / "host.json"
    file.write_text(json.dumps({"aws": {"backups": account}, **more}))
    return str(file)


def make_feed(url: str) -> bytes:
    """A message as M2 writes it beside its backups."""
    message = {
        "messageVer": "1",
        "userdata": None,
        "action": {"api": "/setting/upload"},
        "timestamp": "2026-11-30T14:10:30.000Z",
        "parameters": [{"url": url}],
    }
    return json.dumps(message).encode()


def make_package(files: dict[str, bytes]) -> bytes:
    """A tgz of files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()
