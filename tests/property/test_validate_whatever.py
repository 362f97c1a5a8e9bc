"""Whatever the files hold, validating ends with problems at true places, never with an exception."""

import copy
import json
import re
from datetime import timedelta

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.memory_files import snapshot_of

from reconciler.cli.explanations import list_codes
from reconciler.cli.render.problems import render_problems_github, render_problems_json, render_problems_text
from reconciler.cli.render.sarif import render_sarif
from reconciler.desired.validation import validate_files
from reconciler.diagnostic import Severity
from reconciler.drivers.registry import DRIVERS

QUICK = settings(max_examples=100, deadline=timedelta(seconds=10))

POLL = {"url": "https://central.example.com/", "schedule": "*/30 * * * * *", "timeout": 10}
SETTING = {
    "meta": {"version": 1, "setting": {"deploy": "shared"}},
    "env": {
        "management": {
            "api": {
                "port": 10040,
                "defaultRole": "reader",
                "allowList": [{"addr": "10.0.0.1-9", "role": "admin"}, {"addr": "10.1.0.0/24"}],
            },
            "roles": [
                {"name": "admin", "permissions": {"enableSetting": True}},
                {"name": "reader", "permissions": {"enableGet": True}},
            ],
            "server": {
                "enable": True,
                "connection": [
                    {"name": "events", "type": "kafka", "info": {"brokers": ["k.example.com:9092"]}},
                    {
                        "name": "bucket",
                        "type": "httpAwsSig4",
                        "info": {
                            "accessKeyId": "${env:KEY}",
                            "secretAccessKey": "${file:key}",
                            "region": "eu-central-1",
                            "bucket": "m2-backups",
                        },
                    },
                ],
                "features": {
                    "setting": {
                        "enable": True,
                        "feed": {"type": "apiPolling", "info": POLL},
                        "feedback": {"type": "kafkaPub", "info": {"connect": "events", "topic": "t"}},
                    },
                    "purge": {"enable": True, "feed": {"type": "apiPolling", "info": POLL}},
                },
                "events": {
                    "onSettingLoad": {"backup": {"enable": True, "hostname": "h", "connect": "bucket"}},
                    "onPurgeRequest": {"propagation": {"enable": True, "nodelist": ["10.0.0.1", "10.0.0.2"]}},
                },
            },
            "cluster": {
                "discover": {
                    "members": [
                        {"functions": ["image"], "nodes": ["10.0.0.1"], "balance": {"mode": "hash"}},
                        {"nodes": ["#aws:vm:tag=edge#:8080"]},
                    ]
                },
                "balance": {"mode": "hash"},
                "stats": {"listen": "127.0.0.1:10038"},
            },
        }
    },
    "hosting": [{"name": "www.example.com", "origin": {"address": ["192.0.2.1"]}}],
}
OVERLAY = {"meta": {"version": 2}, "env": {"management": {"api": {"port": 10041}}}}
PATCH = [
    {"op": "test", "path": "/meta/version", "value": 2},
    {"op": "add", "path": "/hosting/-", "value": {"name": "b"}},
]
FLEET = {
    "version": "commit",
    "feedback": {"url": "http://127.0.0.1:9000/feedback", "timeout": 5},
    "lint": {"ignore": [{"code": "unserved-request", "reason": "meant so here"}]},
    "overrides": [{"guard": "quorum", "target": "live", "until": "2099-01-01", "reason": "maintenance"}],
    "windows": [{"cron": "0 3 * * *", "duration": "2h"}],
    "freeze": [{"from": "2026-12-24", "until": "2026-12-26", "reason": "holidays"}],
    "rollout": {"waves": ["1", "50%"]},
    "policy": {"max_changed": "50%"},
    "clusters": [
        {
            "name": "edge",
            "kind": "m2",
            "setting": "edge/setting.json",
            "resources": ["certs/*.pem"],
            "overlays": ["edge/overlay.json", {"merge": {"meta": {"site": "a"}}}],
            "groups": [{"name": "g", "nodes": ["edge-*"], "overlays": ["edge/patch.yaml"]}],
            "timeouts": {"connect": 1, "read": 2, "settle": 3},
            "nodes": [
                {"name": "edge-01", "address": "10.0.0.1:10040"},
                {"name": "edge-02", "address": "10.0.0.2", "overlays": [{"patch": PATCH}]},
            ],
        },
        {
            "name": "live",
            "kind": "sora",
            "stop": {"command": "stop-sora"},
            "drain": 60,
            "collapsed": {"reason": "all hosts gone", "until": "2026-12-01"},
            "nodes": [
                {"name": f"n{number}@10.2.0.{number}", "api": f"http://10.2.0.{number}:3000/"}
                for number in (1, 2, 3)
            ],
        },
    ],
}
DOCUMENTS = {
    "fleet.yaml": FLEET,
    "edge/setting.json": SETTING,
    "edge/overlay.json": OVERLAY,
    "edge/patch.yaml": [{"op": "add", "path": "/hosting/-", "value": {"name": "c"}}],
}
FILES = {name: json.dumps(value, indent=1).encode() for name, value in DOCUMENTS.items()}
FILES["certs/a.pem"] = b"-----BEGIN CERTIFICATE-----\n"


def checked(files):
    """What validating gives, with everything that has to hold of it whatever the files are."""
    found = validate_files(snapshot_of(files), DRIVERS)
    for problem in found.problems:
        position = problem.position
        assert problem.code in list_codes()
        assert (position.line > 0) == (position.column > 0)
        if position.line and position.file in files:
            lines = re.split("\r\n|\r|\n", files[position.file].decode(errors="surrogateescape"))
            assert position.line <= len(lines)
            assert position.column <= len(lines[position.line - 1]) + 2
        assert not problem.pointer or problem.pointer[0] == "/"
    assert found.problems == validate_files(snapshot_of(files), DRIVERS).problems
    plain = json.loads(render_problems_json(found.problems))
    assert [each["code"] for each in plain] == [problem.code for problem in found.problems]
    assert len(json.loads(render_sarif(found.problems))["runs"][0]["results"]) == len(plain)
    assert render_problems_text(found).isprintable() or "\n" in render_problems_text(found)
    assert render_problems_github(found).count("\n") == len(plain) + 1
    return found


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


PLACES = [(name, path) for name, value in DOCUMENTS.items() for path in places(value)]
ODD = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        10**400,
        1.5,
        "",
        " ",
        "x",
        "\ud800",
        "\x00",
        "${env:X}",
        "${",
        "#",
        "*",
        "::1",
        "[::1]:x",
    ]
) | st.sampled_from(
    [[], {}, [[]], [None], [{}], {"": None}, {"name": None}, ["x", 1], "9" * 5000, ["x"] * 40]
)
ODD_NAMES = st.sampled_from(["", "name", "$schema", "a/b~c", "nam", "\ud800", "x" * 300, "merge", "overlays"])


def changed(document, path, value, name=None):
    """A copy of a document with a value replaced, or with one more member beside it."""
    if not path:
        return value
    copied = copy.deepcopy(document)
    inner = copied
    for part in path[:-1]:
        inner = inner[part]
    if name is not None and isinstance(inner, dict):
        inner[name] = value
    else:
        inner[path[-1]] = value
    return copied


def test_nothing_is_wrong_before_anything_is_changed():
    assert [str(each) for each in checked(FILES).problems if each.severity is Severity.ERROR] == []


@QUICK
@given(st.sampled_from(PLACES), ODD, st.none() | ODD_NAMES)
def test_any_value_anywhere(place, value, name):
    file, path = place
    text = json.dumps(changed(DOCUMENTS[file], path, value, name), indent=1)
    checked({**FILES, file: text.encode()})


HUGE = 10**400


@pytest.mark.parametrize(
    ("file", "path"),
    [(name, path) for name, path in PLACES if path],
    ids=lambda part: "/".join(map(str, part)) if isinstance(part, tuple) else part,
)
def test_a_number_that_no_float_can_hold_anywhere(file, path):
    """Each place once: a draw would need luck to put such a number where somebody counts with it."""
    validate_files(
        snapshot_of({**FILES, file: json.dumps(changed(DOCUMENTS[file], path, HUGE)).encode()}), DRIVERS
    )


@QUICK
@given(st.sampled_from([path for name, path in PLACES if name == "fleet.yaml" and path]), ODD)
def test_any_value_anywhere_in_yaml(path, value):
    try:
        text = yaml.safe_dump(changed(FLEET, path, value), allow_unicode=True)
    except (yaml.YAMLError, ValueError):
        return
    checked({**FILES, "fleet.yaml": text.encode(errors="surrogatepass")})


WORDS = b', ; } ] { " \\ // \x00 \xff \xef\xbb\xbf &a *a !!x <<: - : --- \xed\xa0\x80 1e999 NaN \xe2\x80\xa8'
PIECES = st.binary(max_size=6) | st.sampled_from(
    [*WORDS.split(), b"\n", b"\r\n", b"\t", b"\n---\n", b": ", b"- "]
)


@QUICK
@given(
    st.sampled_from(sorted(DOCUMENTS)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), PIECES), min_size=1, max_size=4),
)
def test_any_piece_cut_out_or_put_in(file, edits):
    data = FILES[file]
    for where, cut, piece in edits:
        at = int(where * len(data))
        data = data[:at] + piece + data[at + cut :]
    checked({**FILES, file: data})


@QUICK
@given(
    st.sampled_from(["fleet.yaml", "fleet.json", "setting.json", "edge/setting.json"]),
    st.binary(max_size=200),
)
def test_any_bytes(file, data):
    alone = file in {"fleet.json", "setting.json"}
    checked({file: data} if alone else {**FILES, file: data})


DEEP = 100_000
BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (after, after, b", ".join([b"*%c" % before] * 9))
    for before, after in zip(b"abcdefghijk", b"bcdefghijkl", strict=True)
)
NASTY = {
    "deep arrays": b"[" * DEEP,
    "deep objects": b'{"a":' * DEEP,
    "deep and closed": b"[" * DEEP + b"]" * DEEP,
    "a bomb of aliases": BOMB,
    "an alias in itself": b"a: &a [*a]\n",
    "a huge number": b'{"meta": {"version": ' + b"9" * 100_000 + b"}}",
    "a huge exponent": b'{"meta": {"version": 1e99999}}',
    "a lone surrogate": b'{"meta": {"version": "\\ud800"}}',
    "a lone surrogate as a name": b'{"\\udfff": 1}',
    "bytes of a surrogate": b'{"a": "\xed\xa0\x80"}',
    "a mark": b"\xef\xbb\xbf{}",
    "two marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "NUL": b"\x00" * 100,
    "nothing": b"",
    "a huge number in base 16": b"a: 0x" + b"f" * 5_000,
    "a huge number as a float": b"a: !!float " + b"9" * 400,
    "a tag that runs code": b"!!python/object/apply:os.system [echo]\n",
    "a binary tag": b"a: !!binary ====\n",
    "a time": b"a: 2026-13-99\n",
    "a set": b"? a\n? b\n",
    "two documents": b"{}\n---\n{}\n",
    "a directive": b"%YAML 9.9\n---\n{}\n",
    "a long line": b'{"a": "' + b"x" * 1_000_000 + b'"',
    "many problems": b"{" + b'"a" 1; ' * 5_000,
    "odd line ends": b'{"a": 1,\r\r\n\x0b"b" 2}',
    "only a bracket": b"]",
    "a page": b"<!doctype html><title>Sign in</title>",
}


@pytest.mark.parametrize("case", NASTY)
@pytest.mark.parametrize(
    "file", ["fleet.yaml", "fleet.json", "setting.json", "edge/setting.json", "edge/patch.yaml"]
)
def test_nasty_files(file, case):
    alone = file in {"fleet.json", "setting.json"}
    found = checked({file: NASTY[case]} if alone else {**FILES, file: NASTY[case]})
    harmless = {"a time", "a set", "a lone surrogate", "a long line"}
    if file.endswith(".yaml"):
        harmless |= {"a mark", "two marks"}
    assert not found.valid or case in harmless
