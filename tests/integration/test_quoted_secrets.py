"""Secrets of every kind that nodes quote in every form reach no output, no file and no log."""

import json
import random
import sqlite3
import string
import zlib
from base64 import b64encode

import pyrage
import pytest
from support.hostile_nodes import HostileNodes, Search, forms

from reconciler.cli.main import main
from reconciler.secrets.local_resolver import encrypt_data

DRAW = random.Random(5)


def made_up(size=24):
    return "".join(DRAW.choices(string.ascii_letters + string.digits, k=size))


def awkward():
    return f'{made_up(9)}"\n&% {made_up(15)}'


REFERRED = {name: awkward() for name in ("env", "part", "inline", "file", "age", "resource")}
LITERAL = {
    **{name: made_up() for name in ("password", "header", "pair", "address", "query", "basic")},
    "jwt": f"eyJhbGciOiJIUzI1NiJ9.eyJ{made_up()}.{made_up()}",
    "token": f"ghp_{made_up(36)}",
    "pem": f"-----BEGIN PRIVATE KEY-----\n{made_up(48)}\n{made_up(48)}\n-----END PRIVATE KEY-----\n",
}
HAD = {name: made_up() for name in ("had at a reference", "had as a password", "had by its shape")}
PASSED = {"of the source": made_up(), "of the token for git": made_up()}

MANAGEMENT = {"api": {"allowList": [{"addr": "127.0.0.0/8"}]}}
SHOWN = {
    "env": HAD["had at a reference"],
    "password": HAD["had as a password"],
    "gone": f"Bearer {HAD['had by its shape']}9",
    "other": 1,
}


def setting(version, custom):
    return {"meta": {"version": version}, "env": {"management": MANAGEMENT}, "hosting": [], "custom": custom}


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """A folder of desired state with a secret of its own in every kind of place."""
    identity = pyrage.x25519.Identity.generate()
    to = [identity.to_public()]
    for name in ("env", "part", "inline"):
        monkeypatch.setenv(f"RECONCILE_SECRET_{name.upper()}", REFERRED[name])
    monkeypatch.setenv("RECONCILE_AGE_IDENTITY", str(identity))
    monkeypatch.setenv("RECONCILE_GIT_TOKEN", PASSED["of the token for git"])
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "file").write_text(f"{REFERRED['file']}\n")
    folder = tmp_path / "fleet"
    (folder / "keys").mkdir(parents=True)
    (folder / "keys/tls.pem.age").write_bytes(encrypt_data(REFERRED["resource"].encode(), to))
    (folder / "keys/plain.pem").write_text(LITERAL["pem"])
    custom = {
        "env": "${env:RECONCILE_SECRET_ENV}",
        "part": "Bearer ${env:RECONCILE_SECRET_PART}",
        "inline": "x-${env:RECONCILE_SECRET_INLINE}-y",
        "file": f"${{file:{tmp_path}/file}}",
        "age": f"${{age:{b64encode(encrypt_data(REFERRED['age'].encode(), to)).decode()}}}",
        "password": LITERAL["password"],
        "headers": [{"name": "authorization", "value": LITERAL["header"]}, ["Cookie", LITERAL["pair"]]],
        "url": f"https://user:{LITERAL['address']}@h.example/x",
        "search": f"https://h.example/x?access_token={LITERAL['query']}&x=1",
        "notes": [LITERAL["jwt"], LITERAL["token"], f"Basic {LITERAL['basic']}7"],
    }
    (folder / "base.json").write_text(json.dumps(setting("1", custom), indent=1))
    return folder


def write(folder, port, *, readable):
    """The fleet file, of nodes that can be read or of those that cannot."""
    kind, other = (2, 4) if readable else (1, 3)
    nodes = [{"name": f"e-{way}", "address": f"127.0.{kind}.{way}:{port}"} for way in range(10)]
    live = [{"name": f"n{way}@h.example", "api": f"http://127.0.{other}.{way}:{port}/"} for way in range(5)]
    edge = {"name": "edge", "kind": "m2", "setting": "base.json", "resources": ["keys/*"], "concurrency": 9}
    patience = {"timeouts": {"settle": 0.05, "read": 5}}
    clusters = [
        {**edge, **patience, "nodes": nodes},
        {"name": "live", "kind": "sora", "initialise": True, **patience, "nodes": live},
    ]
    (folder / "fleet.yaml").write_text(json.dumps({"clusters": clusters}))


def kept(folder):
    """All that lies below a folder as text, and what is packed in the rows of a store."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes().decode("latin-1")
    with sqlite3.connect(folder / "state.sqlite") as store:
        names = store.execute("select name from sqlite_master where type = 'table'").fetchall()
        rows = [row for (name,) in names for row in store.execute(f"select * from {name}")]
    store.close()
    for cell in (cell for row in rows for cell in row):
        data = cell if isinstance(cell, bytes) else str(cell).encode()
        yield (zlib.decompress(data) if data[:1] == b"\x78" else data).decode("latin-1")


def test_what_nodes_quote_of_secrets_reaches_no_output_and_no_file(fleet, tmp_path, monkeypatch, capfd):
    known = [form for secret in (REFERRED | LITERAL).values() for form in forms(secret)]
    DRAW.shuffle(known)
    search, said = Search(REFERRED | LITERAL | HAD | PASSED), {}
    state, plan, source = ["--state", str(tmp_path / "state")], tmp_path / "plan.json", str(fleet)

    def run(*arguments):
        status = main(list(arguments))
        told = capfd.readouterr()
        said[" ".join(arguments)] = told.out + told.err
        return status

    had = [form for secret in HAD.values() for form in forms(secret)]
    with HostileNodes(json.dumps(setting("0", SHOWN)).encode(), known, had) as nodes:
        write(fleet, nodes.port, readable=True)
        for form in ("text", "markdown", "json"):
            assert run("--dry-run", "--format", form, "--no-check", "--out", str(plan), *state, source) == 0
        assert run("apply", str(plan), source, *state) == 5
        for form in ("markdown", "json"):
            assert run("--yes", "--format", form, *state, source) in {1, 5}
        run("import", "--dry-run", source)
        for form in ("text", "json"):
            assert run("status", "--format", form, *state, source) == 1  # stalled nodes
            assert run("history", "--format", form, *state) == 0
        for line in json.loads(said[" ".join(["history", "--format", "json", *state])]):
            for form in ("text", "json"):
                run("history", "show", line["id"], "--format", form, *state)
        for form in ("text", "json", "github", "sarif", "codequality"):
            assert run("validate", "--format", form, source) == 0
        assert run("render", source) == run("render", "--explain", source) == 0
        write(fleet, nodes.port, readable=False)
        monkeypatch.setenv("RECONCILE_DEBUG", "1")
        for form in ("text", "markdown", "json"):
            assert run("--dry-run", "--format", form, "--no-check", *state, source) == 1
        run("status", *state, source)
        run("import", "--dry-run", source)
        nodes.quote([form for secret in PASSED.values() for form in forms(secret)])
        away = f"http://user:{PASSED['of the source']}@127.0.1.1:{nodes.port}/x.git"
        for command in (["--dry-run"], ["status"], ["validate"]):
            run(*command, *(state if command[0] != "validate" else ()), away)
    assert {name: found for name, text in said.items() if (found := search.shown_in(text))} == {}
    assert plan.exists()
    written = "\0".join([plan.read_text(), *kept(tmp_path / "state")])
    assert search.shown_in(written) == set()
    assert sum(text.count("••••••") for text in said.values()) > 200


def test_the_search_finds_what_nodes_quote():
    search = Search(REFERRED | LITERAL)
    for name, secret in (REFERRED | LITERAL).items():
        for form in forms(secret):
            assert any(one.startswith(name) for one in search.shown_in(f"it said: {form}!")), form
