"""Documents made from a JSON Schema, right or nearly so, and what breaks a document in one place."""

from __future__ import annotations

import copy
import random

from pydantic import TypeAdapter

from reconciler.drivers.m2.central_server.messages import KINDS

TEXTS = [
    *("", " ", "x", "admin", "all", "commit", "upload", "m2", "sora", "rr", "hash", "api", "setting;api;"),
    *("10.0.0.1", "10.0.0.1-9", "10.0.0.0/24", "10.0.0.0/255.255.255.0", "256.1.1.1", "10.0.0.1/33", "1.2.3"),
    *("10.0.0.1 ", "10.0.0.1-256", "10.0.0.0/255.255.0.255", "::1", "2001:db8::/32", "[::1]:80", "[::1]"),
    *("host", "host:80", "host:0", "host:70000", "host:", "-host", "a..b", "http://h", "*:80", "*:0", "off"),
    *("#aws:vm:tag=x", "#oci:vip:tag=x#:80", "#gcp:vm:tag=x", "aws:vm:tag=x", "#aws:vm:tag="),
    *(
        "*/15 * * * * *",
        "0 2 * * TUE-THU",
        "0 0 2 l * 5#2",
        "* * *",
        "61 * * * * *",
        "* * * * * 8",
        "x * * * *",
    ),
    *("5m", "1h30m", "90", "5x", "0s", "m", " 5m", "25%", "3", "1000%", "1234567", "-1"),
    *("2026-12-01", "2026-13-01", "2026-12-24T18:00", "2026-12-24T25:00", "2026-1-1", "20261201"),
    *("UTC", "Europe/Berlin", "not a zone", "a reason of some length", "so", "high", "point-of-no-return"),
    *("https://a.example/b", "ftp://a", "http://10.0.0.1:3000", "wss://a.example/s"),
    *("node-01@10.0.0.1", "node 1@10.0.0.1", "node-01@sora-01.example.com", "{host}", "{hst}", "{"),
    *("2022-07-13T14:10:30.000Z", "2022-07-13 14:10:30", "/setting/upload", "/setting/deploy/checkout"),
    *("/_sys_/bootup", "/_api_/setting/upload", "/env/management/server/apiPolling/c", "ok", "1", "ключ"),
    *("x\n", "10.0.0.1\n", "5m\n", "commit\n", "*/15 * * * * *\n"),
]
ODD = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    0.0,
    2.5,
    5,
    8,
    1000,
    1001,
    10040.0,
    65_535,
    65_536,
    1e9,
    [],
    {},
    [1],
]


class Maker:
    """Makes documents of a schema; rules that are not about one value are followed now and then only."""

    def __init__(self, schema, rng: random.Random) -> None:
        self.schema, self.rng = schema, rng

    def whole(self):
        return self.make(self.schema)

    def make(self, node, depth=0):
        if not isinstance(node, dict):
            return self.rng.choice(ODD)
        if self.rng.random() < 0.3 and (known := [*node.get("examples", []), *self._default(node)]):
            return copy.deepcopy(self.rng.choice(known))
        if "$ref" in node:
            return self.make(self.schema["$defs"][node["$ref"].rpartition("/")[2]], depth)
        if choices := node.get("enum") or [node[key] for key in ("const",) if key in node]:
            return self.rng.choice(choices)
        union = node.get("anyOf", node.get("oneOf"))
        if union and "properties" not in node:
            return self.make(self.rng.choice(union), depth)
        kind = "object" if "properties" in node or "allOf" in node else node.get("type")
        return getattr(self, f"_{kind}", self._any)(node, depth)

    def _default(self, node):
        return [node["default"]] if "default" in node else []

    def _object(self, node, depth):
        made = {}
        for key, inner in node.get("properties", {}).items():
            needed = key in node.get("required", ())
            if self.rng.random() < (0.97 if needed else max(0.1, 0.7 - depth * 0.08)):
                made[key] = self.make(inner, depth + 1)
        for rule in (rule for rule in node.get("allOf", ()) if "if" in rule):
            ((key, test),) = rule["if"]["properties"].items()
            if "const" in test and made.get(key) == test["const"] and self.rng.random() < 0.95:
                made |= self.make(rule["then"], depth)
        if "then" in node and self.rng.random() < 0.9:
            for key, inner in node["then"].get("properties", {}).items():
                if key in made:
                    made[key] = self.make(inner, depth + 1)
        return made

    def _array(self, node, depth):
        count = self.rng.choice([0, 1, 1, 2, 3]) or node.get("minItems", 0)
        return [self.make(node.get("items", {}), depth + 1) for _ in range(count)]

    def _string(self, node, depth):
        return self.rng.choice(TEXTS)

    def _integer(self, node, depth):
        return self.rng.choice([1, 2, 5, 600, node.get("minimum", 1), node.get("maximum", 7), 3.0])

    def _number(self, node, depth):
        return self.rng.choice([1, 2.5, 600, node.get("minimum", 1), node.get("maximum", 7)])

    def _boolean(self, node, depth):
        return self.rng.random() < 0.7

    def _null(self, node, depth):
        return None

    def _any(self, node, depth):
        return self.rng.choice([*ODD, *TEXTS])


def places(value, path=()):
    """Paths of all that can be changed."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def broken(document, rng: random.Random):
    """A copy that differs in one place: often wrong, sometimes right all the same."""
    document = copy.deepcopy(document)
    found = list(places(document))
    if not found:
        return rng.choice(ODD)
    *parents, last = rng.choice(found)
    holder = document
    for key in parents:
        holder = holder[key]
    what = rng.randrange(6)
    if what == 0:
        del holder[last]
    elif what <= 2:
        holder[last] = copy.deepcopy(rng.choice(ODD if what == 1 else TEXTS))
    elif what == 3 and isinstance(holder, dict):
        holder[rng.choice(["unknown", "enabled", "Name"])] = copy.deepcopy(rng.choice(ODD))
    else:
        holder[last] = _bent(holder[last], rng)
    return document


def _bent(value, rng: random.Random):
    """Nearly the same value."""
    if isinstance(value, list):
        return value * rng.choice([2, 9])
    if isinstance(value, bool):
        return rng.choice([int(value), str(value).lower(), not value])
    if isinstance(value, int | float):
        return rng.choice([float(value), str(value), -value, value + 0.5])
    if isinstance(value, str):
        return rng.choice([value + " ", value.upper(), [value], value[1:]])
    return value


def validate_message(kind, message):
    """A message v1 as its model; `pydantic.ValidationError` if it is not one of this kind."""
    return TypeAdapter(KINDS[kind]).validate_python(message)
