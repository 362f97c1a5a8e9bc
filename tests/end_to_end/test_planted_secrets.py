"""Secrets planted in every kind of place: they reach the nodes, and nothing that a person or a disk keeps."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from base64 import b64encode
from pathlib import Path

import pyrage
import pytest
from support.hostile_nodes import HostileNodes, Search, forms
from support.waiting import block_until

from reconciler.cli.demo_fixtures import DemoNodes, DemoSink
from reconciler.cli.main import main
from reconciler.secrets.local_resolver import encrypt_data
from reconciler.simulation.addresses import find_free_addresses

MARK = "PLANTED"
"""Stands in every clear value, and in nothing else."""

FLEET = """version: commit
feedback: {{url: "{sink}"}}
clusters:
  - name: edge
    kind: m2
    setting: base.json
    resources: [keys/*]
    overlays: [overlay.yaml]
    timeouts: {{settle: 5}}
    nodes:
      - {{name: e-1, address: "{first}"}}
      - name: e-2
        address: "{second}"
        overlays: [{{merge: {{custom: {{inline: "x-${{env:RECONCILE_SECRET_INLINE}}-y"}}}}}}]
"""
ANNOTATED = re.compile(rb"[A-Za-z0-9_.\-]*PLANTED[A-Za-z0-9_.\-]*")


class Site:
    """A folder of desired state full of secrets, simulated nodes, a sink, and all that was ever said."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder = folder / "fleet"
        self.state = folder / "state"
        self.monkeypatch = monkeypatch
        self.identity = pyrage.x25519.Identity.generate()
        self.addresses = [str(address) for address in find_free_addresses(2)]
        self.said: list[str] = []
        monkeypatch.setenv("RECONCILE_AGE_IDENTITY", str(self.identity))
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
        (self.folder / "keys").mkdir(parents=True)

    def plant(self, turn: str, sink: str) -> None:
        """Write the files, with other secrets each turn."""
        for name in ("WHOLE", "PART", "INLINE", "LISTED", "URL", "KEY"):
            self.monkeypatch.setenv(f"RECONCILE_SECRET_{name}", f"{MARK}-{name.lower()}-{turn}")
        (self.folder.parent / "file").write_text(f"{MARK}-file-{turn}\n")
        to = [self.identity.to_public()]
        value = b64encode(encrypt_data(f"{MARK}-age-{turn}".encode(), to)).decode()
        (self.folder / "keys/tls.pem.age").write_bytes(encrypt_data(f"{MARK}-pem-{turn}".encode(), to))
        first, second = self.addresses
        self.write("fleet.yaml", FLEET.format(sink=sink, first=first, second=second))
        self.write(
            "overlay.yaml",
            f'custom:\n  age: "${{age:{value}}}"\n  file: "${{file:{self.folder.parent}/file}}"\n',
        )
        rows = [{"note": "${env:RECONCILE_SECRET_LISTED}"}] * (1 + len(turn))
        info = {"region": "eu-1", "accessKeyId": "AK", "secretAccessKey": "${env:RECONCILE_SECRET_KEY}"}
        connection = {"name": "cloud", "type": "awssdk3", "info": info}
        feed = {
            "type": "apiPolling",
            "info": {
                "url": "https://u:${env:RECONCILE_SECRET_URL}@feed.example/x",
                "schedule": "*/15 * * * * *",
                "timeout": 5,
            },
        }
        management = {
            "api": {"allowList": [{"addr": "127.0.0.0/8"}]},
            "server": {
                "enable": True,
                "connection": [connection],
                "features": {"purge": {"enable": True, "feed": feed}},
            },
        }
        part = "Bearer ${env:RECONCILE_SECRET_PART}"
        custom = {"plain": "${env:RECONCILE_SECRET_WHOLE}", "part": part, "rows": rows}
        document = {
            "meta": {"version": turn},
            "env": {"management": management},
            "custom": custom,
            "hosting": [],
        }
        self.write("base.json", json.dumps(document, indent=1))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def add_hostile(self, port: int) -> None:
        """Two clusters whose nodes cannot be read, and say so in words that quote secrets."""
        path = self.folder / "fleet.yaml"
        mute = [f'      - {{name: mute-{way}, address: "127.0.1.{way}:{port}"}}' for way in range(10)]
        deaf = [
            f'      - {{name: "n{way}@h.example", api: "http://127.0.3.{way}:{port}/"}}' for way in range(5)
        ]
        head = "  - name: {}\n    kind: {}\n{}    nodes:\n"
        text = head.format("mute", "m2", "    setting: base.json\n") + "\n".join(mute) + "\n"
        text += head.format("deaf", "sora", "") + "\n".join(deaf) + "\n"
        path.write_text(path.read_text() + text)

    def run(self, capsys, *arguments: str) -> int:
        status = main([*arguments, "--state", str(self.state), str(self.folder)])
        self.said += capsys.readouterr()
        return status

    def shown_by_nodes(self) -> str:
        pages = []
        for address in self.addresses:
            with urllib.request.urlopen(f"http://{address}/setting/setting.json", timeout=10) as answer:
                pages.append(answer.read().decode())
        return "".join(pages)


def kept(folder: Path) -> list[bytes]:
    """All bytes below a folder, and what is packed in the store's rows."""
    found = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in folder.rglob("*.sqlite"):
        with sqlite3.connect(path) as store:
            tables = [
                name for (name,) in store.execute("select name from sqlite_master where type = 'table'")
            ]
            for table in tables:
                for row in store.execute(f"select * from {table}"):
                    for cell in row:
                        data = cell if isinstance(cell, bytes) else str(cell).encode()
                        found.append(data)
                        if data[:1] == b"\x78":
                            found.append(zlib.decompress(data))
        store.close()
    return found


def leaks(pieces) -> set[bytes]:
    return {
        hit
        for piece in pieces
        for hit in ANNOTATED.findall(piece if isinstance(piece, bytes) else piece.encode())
    }


@pytest.fixture
def site(tmp_path, monkeypatch):
    return Site(tmp_path, monkeypatch)


def test_planted_secrets_reach_the_nodes_and_nothing_else(site, capsys):
    with DemoNodes() as nodes, DemoSink() as sink:
        site.plant("one", sink.url)
        nodes.serve(site.folder)
        plans = [("--dry-run", "--format", form) for form in ("text", "json", "markdown")]
        assert [site.run(capsys, *plan) for plan in plans] == [0, 0, 0], site.said
        assert site.run(capsys, "--yes") == 0
        assert site.run(capsys, "--dry-run", "--detailed-exitcode") == 0
        wanted = {f"{MARK}-{name}-one" for name in ("whole", "part", "listed", "url", "key", "file", "age")}
        shown = site.shown_by_nodes()
        assert {value for value in wanted if value not in shown} == set()
        assert f"x-{MARK}-inline-one-y" in shown

        site.plant("three", sink.url)
        assert [site.run(capsys, *plan) for plan in plans] == [0, 0, 0], site.said
        assert site.run(capsys, "--yes", "--format", "json") == 0
        assert f"{MARK}-age-three" in site.shown_by_nodes()

        site.plant("drifted", sink.url)
        clear = {name: f"{MARK}-{name}-drifted" for name in ("whole", "part", "file", "age", "pem")}
        quoted = [form for value in clear.values() for form in forms(value)]
        with HostileNodes(b"{}", quoted, []) as hostile:
            site.add_hostile(hostile.port)
            log = _watched(site, sink)
        assert "••••••" in log
        assert "mute-0" in log
        assert Search(clear).shown_in(log) == set()
        assert f"{MARK}-age-drifted" in site.shown_by_nodes()
        site.plant("drifted", sink.url)

        site.monkeypatch.delenv("RECONCILE_SECRET_WHOLE")
        site.monkeypatch.delenv("RECONCILE_AGE_IDENTITY")
        assert site.run(capsys, "--dry-run", "--detailed-exitcode", "--only", "edge") == 0
        site.said.append(log)
        assert len(sink.messages) >= 6
        assert "secret-unavailable" in site.said[-3]
        found = leaks([*site.said, json.dumps(sink.messages), *kept(site.state)])
        assert found == set()


def _watched(site, sink) -> str:
    """The log of a watch that applied once."""
    before = len(sink.messages)
    command = [
        sys.executable,
        "-m",
        "reconciler.cli.main",
        "watch",
        "--state",
        str(site.state),
        "--listen",
        f"127.0.0.1:{find_free_addresses(1)[0].port}",
    ]
    pages = [f"http://{command[-1]}/{page}" for page in ("metrics", "readyz", "healthz", "")]
    with subprocess.Popen(
        [*command, str(site.folder)], env=dict(os.environ), stderr=subprocess.PIPE, text=True
    ) as watch:
        block_until(lambda: len(sink.messages) >= before + 2)
        told = "".join(map(_page, pages))
        assert "reconcile" in told
        watch.send_signal(signal.SIGTERM)
        _, log = watch.communicate(timeout=30)
    assert watch.returncode == 0, log
    return log + told


def _page(url: str) -> str:
    """What the watch answers there, whatever its status."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


@pytest.mark.parametrize("debug", ["", "1"])
def test_errors_and_tracebacks_do_not_show_planted_secrets(site, capsys, monkeypatch, debug):
    monkeypatch.setenv("RECONCILE_DEBUG", debug)
    site.plant("one", "http://127.0.0.1:9/")
    good = {name: (site.folder / name).read_text() for name in ("base.json", "overlay.yaml", "fleet.yaml")}
    wrong = [
        ("base.json", '"type": "apiPolling"', '"type": "${env:RECONCILE_SECRET_WHOLE}", "typo": 1'),
        ("base.json", '"timeout": 5', '"timeout": "${env:RECONCILE_SECRET_WHOLE}"'),
        ("base.json", '"enable": true', '"enable": "yes"'),
        (
            "base.json",
            '"addr": "127.0.0.0/8"',
            '"addr": "300.0.0.1 ${env:RECONCILE_SECRET_WHOLE}", "role": "nobody"',
        ),
        ("base.json", '"plain": "${env:RECONCILE_SECRET_WHOLE}"', '"plain": "${env:RECONCILE_SECRET_WHOLE}'),
        (
            "overlay.yaml",
            "custom:",
            '"${env:RECONCILE_SECRET_WHOLE}": ["${env:RECONCILE_SECRET_PART}"\ncustom:',
        ),
        ("fleet.yaml", "merge: {custom", "patch: [{op: test, path: /custom/plain, value: x}], old: {custom"),
        (
            "fleet.yaml",
            '{merge: {custom: {inline: "x-${env:RECONCILE_SECRET_INLINE}-y"}}}',
            "{patch: [{op: test, path: /custom/plain, value: x}]}",
        ),
    ]
    statuses = set()
    for name, old, new in wrong:
        assert old in good[name], old
        site.write(name, good[name].replace(old, new, 1))
        statuses.add(site.run(capsys, "--dry-run"))
        site.write(name, good[name])
    assert statuses == {1}
    assert leaks(site.said) == set()


def test_the_scan_finds_what_it_looks_for(site, tmp_path):
    with sqlite3.connect(tmp_path / "x.sqlite") as store:
        store.execute("create table t (a)")
        store.execute("insert into t values (?)", (zlib.compress(f"{MARK}-packed".encode()),))
    store.close()
    assert leaks(kept(tmp_path)) == {b"PLANTED-packed"}
