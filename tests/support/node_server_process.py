"""A node server of M2 over a real store, in a process of its own that can be killed: `FOLDER` as argument."""

import signal
import sys
import threading

from reconciler.core.endpoint import SocketAddress
from reconciler.drivers.m2.central_server.server import CENTRAL_SERVER
from reconciler.server.logs import open_log
from reconciler.server.nodes.node_server import NodeServer, NodeServerOptions, NodeServerParts
from reconciler.store.factory import open_store


def main(folder):
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = NodeServer(
        NodeServerOptions(SocketAddress("127.0.0.1", 0), rate=1e9),
        NodeServerParts(
            lambda: open_store(folder),
            {"m2": CENTRAL_SERVER}.get,
            lambda cluster, node, now: frozenset(),
            lambda cluster: 60.0,
            open_log(sys.stderr, form="json"),
            lambda name, error, wait: sys.stderr.write(f"crash of {name}: {error!r}\n"),
        ),
    )
    with server.running() as url:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        while not stop.wait(0.2):
            pass


if __name__ == "__main__":
    main(sys.argv[1])
