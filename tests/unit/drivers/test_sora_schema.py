"""What the fleet file may say of a Sora cluster, and where its nodes' addresses come from."""

from __future__ import annotations

import json
import time

import pytest
from pydantic import ValidationError
from support.sora_clusters import TODAY, FixedWire, agreeing, api, entry, full, seen

from reconciler.core.observation import Unidentified
from reconciler.drivers.sora import schema as schema_module
from reconciler.drivers.sora.cluster_view import choose_addresses
from reconciler.drivers.sora.history import ClusterPast
from reconciler.drivers.sora.product import SoraDriver
from reconciler.drivers.sora.schema import SoraCluster, SoraDesired, SoraNode
from reconciler.ports.transport import Transports


def addresses(cluster, observed):
    return choose_addresses(cluster, observed, ClusterPast())


NODE = {"name": "node-01@192.0.2.5", "api": "http://192.0.2.5:3000/"}


def cluster(**more):
    return SoraCluster.model_validate({"name": "live", "kind": "sora", "nodes": [NODE], **more})


@pytest.mark.parametrize("name", ["node-01@192.0.2.5", "_x-Y_9@sora-01.example.com", "a@b.c", "node-01@sora"])
def test_names_as_in_the_documents(name):
    assert SoraNode.model_validate({**NODE, "name": name}).name == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("node-01", "then @"),
        ("@192.0.2.5", "then @"),
        ("node 1@192.0.2.5", "then @"),
        ("node@-o.x", "then @"),
        ("node@o.", "then @"),
        ("node@", "then @"),
        ("a@b@c.d", "then @"),
        ("a@b.c\n", "then @"),
    ],
)
def test_other_names_are_explained(name, words):
    with pytest.raises(ValidationError, match=words):
        SoraNode.model_validate({**NODE, "name": name})


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("http://192.0.2.5:3000/", "http://192.0.2.5:3000/"),
        ("http://192.0.2.5:3000", "http://192.0.2.5:3000/"),
        ("https://node1.example.com/api", "https://node1.example.com/api"),
    ],
)
def test_addresses_end_in_a_path(text, meant):
    assert SoraNode.model_validate({**NODE, "api": text}).api == meant


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.5:3000",
        "ftp://h/",
        "http://user:pw@h/",
        "http://h/?x=1",
        "http://h/#x",
        "http://",
        "http://h \n",
    ],
)
def test_other_addresses_are_refused(text):
    with pytest.raises(ValidationError, match="must be `http"):
        SoraNode.model_validate({**NODE, "api": text})


def test_a_stop_names_a_command_of_the_host_and_gives_data():
    found = cluster(stop={"command": "stop-sora", "arguments": {"unit": "sora@1.service"}}).stop
    assert (found.command, found.arguments) == ("stop-sora", {"unit": "sora@1.service"})


@pytest.mark.parametrize("stop", [["ssh", "{host}"], [], "reboot"])
def test_a_command_line_in_a_tree_is_refused(stop):
    with pytest.raises(ValidationError, match="not a command line"):
        cluster(stop=stop)


@pytest.mark.parametrize(
    "stop",
    [
        {},
        {"command": ""},
        {"command": "-x"},
        {"command": "a b"},
        {"command": "../x"},
        {"command": "x", "run": ["reboot"]},
        {"command": "x", "arguments": {"unit": "-oProxyCommand=sh"}},
        {"command": "x", "arguments": {"unit": "$(reboot)"}},
        {"command": "x", "arguments": {"unit": "a;b"}},
        {"command": "x", "arguments": {"unit": "a b"}},
        {"command": "x", "arguments": {"unit": "../x"}},
        {"command": "x", "arguments": {"unit": "a\n"}},
        {"command": "x", "arguments": {"node": "other"}},
        {"command": "x", "arguments": {"host": "other"}},
        {"command": "x", "arguments": {"unit": 1}},
    ],
)
def test_a_stop_gives_nothing_but_data(stop):
    with pytest.raises(ValidationError):
        cluster(stop=stop)


@pytest.mark.parametrize(
    "more", [{"drain": -1}, {"mode": "normal"}, {"collapsed": {"reason": ""}}, {"nodes": []}]
)
def test_what_the_file_may_not_say(more):
    with pytest.raises(ValidationError):
        cluster(**more)


def test_defaults_are_cautious():
    plain = cluster()
    assert (plain.stop, plain.drain, plain.initialise, plain.collapsed) == (None, 600, False, None)
    assert (plain.nodes[0].temporary, plain.nodes[0].mode) == (False, None)


class TestAddresses:
    def test_the_fleet_file_comes_first_then_what_members_say(self):
        observed = seen(agreeing("a b x", "a", "b"))
        assert addresses(entry("a b"), observed) == {full(one): api(one) for one in "abx"}

    def test_a_node_that_is_away_is_sought_where_it_would_be(self):
        observed = seen(agreeing("a b x!", "a", "b"))
        assert addresses(entry("a b"), observed)[full("x")] == api("x")

    def test_but_not_where_addresses_do_not_follow_from_names(self):
        plain = entry("a b")
        odd = plain.nodes[0].model_copy(update={"api": "http://127.0.0.1:3001/"})
        observed = seen(agreeing("a b x!", "a", "b"))
        mixed = plain.model_copy(update={"nodes": (odd, plain.nodes[1])})
        assert full("x") not in addresses(mixed, observed)

    def test_and_never_where_another_node_is_known_to_be(self):
        one = SoraNode.model_validate({"name": "new@h.example.com", "api": "http://h.example.com:3000/"})
        observed = seen({"a": "a x! b"})
        renamed = observed.nodes[full("a")].value
        old = renamed.rows[2].model_copy(update={"node_name": "old@h.example.com", "connected": False})
        view = type(renamed)((*renamed.rows[:2], old))
        nodes = type(observed)({full("a"): type(observed.nodes[full("a")])(view)})
        known = addresses(entry("a b").model_copy(update={"nodes": (*entry("a b").nodes, one)}), nodes)
        assert "old@h.example.com" not in known


def test_lists_of_very_many_rows_or_bytes_are_not_read():
    row = b'{"node_name": "a@b", "connected": true}'
    for body in (b"[" + b",".join([row] * 60_000) + b"]", b'["' + b"x" * 9_000_000 + b'"]'):
        with pytest.raises(schema_module.UnreadableAnswer, match="more than"):
            schema_module.parse_nodes(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" + b"1," * 900_000 + b"1]", "`0` must be"),
        (b"[" + b"{}," * 49_000 + b"{}]", "`0/node_name` is missing"),
        (b'[{"node_name": NaN, "connected": true}]', "it has NaN"),
        (b'[{"node_name": "a", "connected": true, "x": 1e999}]', "a number that cannot be used"),
        (b"[" * 100_000, "nests deeper|more than"),
    ],
)
def test_a_hostile_list_is_refused_at_its_first_fault(body, words):
    start = time.monotonic()
    with pytest.raises(schema_module.UnreadableAnswer, match=words):
        schema_module.parse_nodes(body)
    assert time.monotonic() - start < 3


def rows(**odd):
    row = {"node_name": "a@b.example.com", "connected": True, "temporary_node": False, **odd}
    return json.dumps([row, {"node_name": "c@b.example.com", "connected": True}]).encode()


@pytest.mark.parametrize(
    "odd",
    [
        {"node_name": "a@" + "b" * 300},
        {"node_name": "a@b\u202e"},
        {"external_api_url": "http://h/" + "a" * 2000},
        {"external_api_url": "http://h\u2028.example.com:3000/"},
        {"external_api_url": "http://h\x1b[2J:3000/"},
        {"api_url": "http://h \u202e:3000/"},
        {"mode": "n" * 65},
        {"mode": "nor\nmal"},
        {"mode": "normal\u202e"},
        {"license_max_connections": 10**18},
    ],
    ids=lambda odd: f"{next(iter(odd))} {next(iter(odd.values()))!a:.30}",
)
async def test_a_row_of_texts_that_cannot_be_makes_that_node_unreadable_and_no_other(odd):
    wire = FixedWire(body=rows(**odd))
    observed = await SoraDriver(today=lambda: TODAY).observe(SoraDesired(entry("a")), Transports(wire))
    answer = observed.nodes[full("a")]
    assert isinstance(answer, Unidentified)
    assert "cannot read its list of nodes" in answer.reason
    assert len(answer.reason) < 1000
    assert answer.reason.isprintable()


def test_what_a_row_shows_to_people_is_cut_and_on_one_line():
    body = rows(version="1\x1b[2J" + "v" * 1_000_000, error="{error,\n\u202e" + "e" * 1_000_000)
    row = schema_module.parse_nodes(body)[0]
    for text in (row.version, row.error):
        assert len(text) == 500
        assert text.isprintable()


@pytest.mark.parametrize("error", ["\u202e", " ", "\n", "\u200b"])
def test_an_error_that_nobody_can_see_is_an_error_still(error):
    assert schema_module.parse_nodes(rows(error=error, connected=False))[0].error


def test_a_channel_of_a_long_name_is_counted():
    body = json.dumps([{"channel_id": "c" * 1_000_000, "owners": [{"node_name": "a@b"}]}]).encode()
    (channel,) = schema_module.parse_channels(body)
    assert len(channel.channel_id) == 500
