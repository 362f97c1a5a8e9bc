"""Laws of M2's canonical form: total, idempotent, blind to what means nothing, and to nothing else."""

from __future__ import annotations

import copy
import random
import re
from ipaddress import IPv4Address, IPv4Network, ip_address

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.m2_wire import canonicalise

from reconciler.core.diff import diff_values
from reconciler.drivers.m2.address_range import AddressRange, parse_address_range
from reconciler.drivers.m2.allowlist import sort_entries
from reconciler.drivers.m2.caller_permissions import PERMISSION_DEFAULTS, find_access
from reconciler.drivers.m2.canonical import fingerprint_clear
from reconciler.drivers.m2.changes import find_changes
from reconciler.drivers.m2.choices import AllowListMatch, Choices
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.risk import assess_impact

# addresses

LOW = int(IPv4Address("10.0.0.0"))


@st.composite
def spans(draw, width=32):
    """Spans that one of the four forms can say."""
    if draw(st.booleans()):
        base = draw(st.integers(0, 2**32 - 1)) & ~0xFF
        low, high = sorted((draw(st.integers(0, 255)), draw(st.integers(0, 255))))
        return AddressRange(4, base + low, base + high)
    network = IPv4Network((draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, width))), strict=False)
    return AddressRange(4, int(network.network_address), int(network.broadcast_address))


def forms(found):
    """Every way to write a span."""
    first, last = IPv4Address(found.low), IPv4Address(found.high)
    written = [str(found)]
    if found.low >> 8 == found.high >> 8:
        written.append(f"{first}-{str(last).rpartition('.')[2]}")
    if "/" in str(found):
        written.append(f"{first}/{IPv4Network(str(found)).netmask}")
    if found.low == found.high:
        written += [f"{first}/32", f"{first}/255.255.255.255"]
    return written


@given(spans())
@settings(deadline=None)
def test_every_form_of_a_span_reads_back_to_it(found):
    for text in forms(found):
        assert parse_address_range(text) == found
        assert str(parse_address_range(text)) == str(found)


# any JSON, at places that the canonical form looks at

KEYS = re.split(
    r"\s+",
    "meta version setting deploy env management api port defaultRole allowList addr role roles name "
    "permissions enableGet server connection info brokers privateKey features purge feed feedback url "
    "events onPurgeRequest propagation nodelist cluster discover members nodes functions balance mode "
    "hosting enable x",
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from(["", "rr", "hash", "admin", "10.0.0.1", "10.0.0.0/24", "https://u:p@h/", "a", "B"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=40,
)


@st.composite
def anything(draw):
    """Any JSON, hung in at some known place."""
    value = draw(JSON)
    depth = draw(st.integers(0, 4))
    for key in ("env", "management", draw(st.sampled_from(KEYS)), draw(st.sampled_from(KEYS)))[:depth][::-1]:
        value = {key: value, **draw(st.dictionaries(st.sampled_from(KEYS), SCALARS, max_size=2))}
    return value


@given(anything())
@settings(deadline=None, max_examples=150)
def test_the_form_is_total_idempotent_and_leaves_its_argument_alone(document):
    before = copy.deepcopy(document)
    once = canonicalise(document)
    assert document == before
    assert diff_values(canonicalise(once), once) == ()
    assert fingerprint_clear(canonicalise(once)) == fingerprint_clear(once)


@given(anything(), anything())
@settings(deadline=None, max_examples=100)
def test_any_content_of_a_node_can_be_compared_and_its_risk_rated(one, other):
    assume(isinstance(one, dict) and isinstance(other, dict))
    contents = ContentCache()
    before, after = contents.of(one), contents.of(other)
    changes = find_changes(before, after)
    assert bool(changes) is (before.fingerprint != after.fingerprint)
    assert assess_impact(before, after, changes).reason
    assert before.fingerprint == contents.of(canonicalise(one)).fingerprint


# allowLists

ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"addr": st.builds(lambda low, size: str(net(low, size)), st.integers(0, 31), st.integers(0, 3))},
        optional={"role": st.sampled_from(["admin", "user", "none"])},
    ),
    max_size=7,
)
ROLES = [{"name": "admin", "permissions": {"enableSetting": True}}, {"name": "user", "permissions": {}}]
RULES = [Choices(match=match) for match in AllowListMatch]


def net(low, size):
    return IPv4Network((LOW + low, 32 - size), strict=False)


def with_list(entries):
    return {"env": {"management": {"api": {"allowList": entries}, "roles": ROLES}}}


@given(ENTRIES)
@settings(deadline=None)
def test_a_sorted_allow_list_gives_every_caller_the_same_roles(entries):
    ordered = canonicalise(with_list(entries))
    for rule in RULES:
        for caller in (str(ip_address(LOW + number)) for number in range(33)):
            original, kept = (find_access(each, caller, rule) for each in (with_list(entries), ordered))
            assert original.permissions == kept.permissions


@given(ENTRIES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_moves_without_an_effect_are_not_shown(entries, rnd):
    """Neighbours that do not overlap, or agree in role, change places any number of times."""
    moved = list(entries)
    for _ in range(20 if len(moved) > 1 else 0):
        place = rnd.randrange(len(moved) - 1)
        one, other = moved[place], moved[place + 1]
        agree = one.get("role", "admin") == other.get("role", "admin")
        if agree or not parse_address_range(one["addr"]).overlaps(parse_address_range(other["addr"])):
            moved[place : place + 2] = other, one
    assert canonicalise(with_list(moved)) == canonicalise(with_list(entries))


@given(ENTRIES)
@settings(deadline=None)
def test_order_is_a_matter_of_order_alone(entries):
    explicit = [{"role": "admin", **entry} for entry in entries]
    ordered = sort_entries(explicit)
    assert [entry for entry in ordered if entry not in explicit] == []
    assert [entry for entry in explicit if entry not in ordered] == []


# whole settings: what may vary and what may not


@st.composite
def documents(draw):
    """Complete settings, with explicit defaults where the manual has them."""
    pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1, max_size=4))
    apart = draw(st.lists(st.integers(0, 200), unique=True, max_size=4))
    addresses = [f"10.1.{number}.0/24" for number in apart]
    flat = [f"10.0.0.{number}" for number in draw(st.lists(st.integers(1, 9), unique=True, max_size=4))]
    groups = [
        {"functions": names, "nodes": flat, "balance": {"mode": pick("rr", "hash")}},
        {"functions": None, "nodes": ["10.0.1.1"], "balance": {"mode": "rr"}},
    ]
    brokers = [f"b-{number}:9092" for number in range(draw(st.integers(1, 3)))]
    return {
        "meta": {"version": pick("A", 1, 10), "setting": {"deploy": pick("exclusive", "shared")}},
        "env": {
            "management": {
                "api": {
                    "port": pick(10040, 10041),
                    "defaultRole": pick(*names),
                    "multipartName": pick("settingFile", "other"),
                    "allowList": [{"role": pick(*names), "addr": addr} for addr in addresses],
                },
                "roles": [
                    {"name": name, "permissions": {"enableGet": draw(st.booleans()), "enablePurge": False}}
                    for name in names
                ],
                "server": {
                    "enable": draw(st.booleans()),
                    "connection": [
                        {"name": name, "type": "kafka", "info": {"clientId": "c", "brokers": brokers}}
                        for name in names
                    ],
                    "features": {"purge": {"enable": draw(st.booleans()), "workerCount": pick(2, 0)}},
                },
                "cluster": {
                    "meta": {"enable": draw(st.booleans()), "baseHostingPort": pick(9000, 9001)},
                    "discover": {"port": pick(9900, 9901), "members": pick(None, flat, groups)},
                    "balance": {
                        "mode": pick("rr", "hash"),
                        "luaPath": None,
                        "urlIgnoreList": pick(["#FUNCTION"], ["proxy", "#FUNCTION"]),
                    },
                    "stats": {"enable": draw(st.booleans()), "listen": "127.0.0.1:10038"},
                },
            }
        },
        "hosting": [{"name": name, "enable": draw(st.booleans()), "listen": "*:80"} for name in names],
        "functions": {"any": [1, "x", {"y": None}]},
    }


DEFAULTS = {
    ("meta", "setting", "deploy"): "exclusive",
    ("env", "management", "api", "port"): 10040,
    ("env", "management", "api", "multipartName"): "settingFile",
    ("env", "management", "server", "enable"): False,
    ("env", "management", "server", "features", "purge", "enable"): False,
    ("env", "management", "server", "features", "purge", "workerCount"): 2,
    ("env", "management", "cluster", "meta", "enable"): False,
    ("env", "management", "cluster", "meta", "baseHostingPort"): 9000,
    ("env", "management", "cluster", "discover", "port"): 9900,
    ("env", "management", "cluster", "discover", "members"): None,
    ("env", "management", "cluster", "balance", "mode"): "rr",
    ("env", "management", "cluster", "balance", "luaPath"): None,
    ("env", "management", "cluster", "balance", "urlIgnoreList"): ["#FUNCTION"],
    ("env", "management", "cluster", "stats", "enable"): True,
    ("env", "management", "cluster", "stats", "listen"): "127.0.0.1:10038",
}


def varied(document: dict, rnd: random.Random) -> dict:
    """The same setting in another notation."""
    rewritten = copy.deepcopy(document)
    management = rewritten["env"]["management"]
    api = management["api"]
    for entry in api["allowList"]:
        entry["addr"] = rnd.choice(forms(parse_address_range(entry["addr"])))
        drop(entry, "role", api["defaultRole"], rnd)
    for shuffled in (api["allowList"], management["roles"], management["server"]["connection"]):
        rnd.shuffle(shuffled)
    for connection in management["server"]["connection"]:
        rnd.shuffle(connection["info"]["brokers"])
    for role in management["roles"]:
        drop(role["permissions"], "enableGet", True, rnd)
        drop(role["permissions"], "enablePurge", False, rnd)
    for host in rewritten["hosting"]:
        drop(host, "enable", True, rnd)
    regroup(management["cluster"], rnd)
    return unsaid(rewritten, rnd)


def drop(part: dict, key: str, default: object, rnd: random.Random) -> None:
    """Leave a default unsaid, or not."""
    if part[key] == default and rnd.random() < 0.5:
        del part[key]


def regroup(cluster: dict, rnd: random.Random) -> None:
    """Turn round what has no order among the members."""
    members, mode = cluster["discover"]["members"] or [], cluster["balance"]["mode"]
    if members and isinstance(members[0], str) and mode == "rr":
        rnd.shuffle(members)
    for group in (member for member in members if isinstance(member, dict)):
        rnd.shuffle(group["functions"] or [])
        if group["balance"]["mode"] == "rr":
            rnd.shuffle(group["nodes"])
        drop(group, "balance", {"mode": mode}, rnd)
        drop(group, "functions", None, rnd)


def unsaid(document: dict, rnd: random.Random) -> dict:
    """Without some of its defaults, and with its keys in another order."""
    for path, default in DEFAULTS.items():
        place = document
        for key in path[:-1]:
            place = place.get(key, {})
        if path[-1] in place and place[path[-1]] == default and rnd.random() < 0.5:
            del place[path[-1]]

    def turned(value):
        if not isinstance(value, dict):
            return [turned(item) for item in value] if isinstance(value, list) else value
        return {key: turned(value[key]) for key in rnd.sample(sorted(value), len(value))}

    return turned(document)


@given(documents(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_another_notation_of_a_setting_is_no_difference(document, rnd):
    contents = ContentCache()
    one, other = contents.of(document), contents.of(varied(document, rnd))
    assert find_changes(one, other) == ()
    assert one.fingerprint == other.fingerprint


def leaves(value, path=()):
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


@given(documents(), st.data())
@settings(deadline=None)
def test_another_value_anywhere_is_a_difference(document, data):
    path = data.draw(st.sampled_from(sorted(leaves(document), key=str)))
    changed = copy.deepcopy(document)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "10.9.9.9" if path[-1] == "addr" else "another"
    one, other = ContentCache().of(document), ContentCache().of(changed)
    assert find_changes(one, other)
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("key", ["hosting", "functions", "meta"])
@given(documents())
@settings(deadline=None)
def test_a_whole_part_that_is_gone_is_a_difference(key, document):
    gone = {name: value for name, value in document.items() if name != key}
    assert find_changes(ContentCache().of(document), ContentCache().of(gone))


@given(anything(), st.sampled_from(["127.0.0.1", "::1"]))
@settings(deadline=None, max_examples=100)
def test_access_is_decided_for_every_caller_and_any_content_of_the_node(document, caller):
    assume(isinstance(document, dict))
    assert find_access(document, caller).permissions <= frozenset(PERMISSION_DEFAULTS)
