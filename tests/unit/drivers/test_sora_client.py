"""The client sends what is documented, and translates every answer."""

from __future__ import annotations

import json

import pytest
from support.sora_clusters import FixedWire

from reconciler.drivers.sora.client import Client
from reconciler.drivers.sora.simulator.world import HEADERS
from reconciler.errors import NodeRefused, NodeUnauthorized, NodeUnidentified, NodeUnreachable
from reconciler.ports.transport import Http, HttpAnswer

SEED_LIST = [
    {
        "external_api_url": "http://192.0.2.5:3000/",
        "license_max_connections": 500,
        "license_max_nodes": 10,
        "license_serial_code": "ABCDEF-SRA-E001-203801-N3-100",
        "license_type": "Experimental",
        "node_name": "node-01@192.0.2.5",
        "mode": "normal",
        "connected": True,
        "external_signaling_url": "wss://node-01.example.com/signaling",
        "version": "2024.1.0",
        "temporary_node": False,
    },
    {
        "api_url": "http://192.0.2.7:3000/",
        "node_name": "node-02@192.0.2.7",
        "mode": "normal",
        "connected": True,
        "version": "2024.1.0",
    },
    {"license_max_nodes": 10, "node_name": "node-03@192.0.2.8", "connected": False, "temporary_node": False},
    {
        "error": "{error,{erpc,timeout}}",
        "node_name": "node-04@192.0.2.9",
        "connected": False,
        "temporary_node": True,
    },
]


def client(wire):
    return Client(wire, "node-01", "http://192.0.2.5:3000/", 10.0, 3.0)


def refused(status, body=b"", headers=None):
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    return FixedWire(status, value, headers)


async def test_the_list_of_the_documents_is_read_in_both_spellings():
    rows = await client(FixedWire(body=json.dumps(SEED_LIST[::-1]).encode())).nodes()
    assert [row.node_name for row in rows] == [row["node_name"] for row in SEED_LIST]
    assert [row.api for row in rows] == ["http://192.0.2.5:3000/", "http://192.0.2.7:3000/", None, None]
    assert [row.temporary for row in rows] == [False, None, False, True]
    assert rows[3].error == "{error,{erpc,timeout}}"


async def test_a_call_without_arguments_has_no_body():
    wire = FixedWire(body=b"[]", headers=HEADERS)
    assert await client(wire).nodes() == ()
    sent = wire.sent[0]
    assert (sent["method"], sent["url"], sent["content"]) == ("POST", "http://192.0.2.5:3000/", b"")
    assert sent["headers"] == {"x-sora-target": "Sora_20211215.ListClusterNodes"}
    assert (sent["timeout"], sent["connect"]) == (10.0, 3.0)


@pytest.mark.parametrize(
    ("call", "target", "body"),
    [
        (
            lambda one: one.init(["b@h.e", "a@h.e"]),
            "Sora_20221221.InitCluster",
            {"node_name_list": ["b@h.e", "a@h.e"]},
        ),
        (
            lambda one: one.register("a@h.e"),
            "Sora_20211215.RegisterClusterNode",
            {"contact_node_name": "a@h.e"},
        ),
        (lambda one: one.purge("a@h.e"), "Sora_20220629.PurgeClusterNode", {"target_node_name": "a@h.e"}),
        (lambda one: one.change_mode("normal"), "Sora_20211215.ChangeMode", {"mode": "normal"}),
    ],
)
async def test_changes_are_sent_as_documented(call, target, body):
    wire = FixedWire(body=b'{"ok":\n true}')
    assert await call(client(wire)) == '200 {"ok": true}'
    assert wire.sent[0]["headers"] == {"x-sora-target": target, "content-type": "application/json"}
    assert json.loads(wire.sent[0]["content"]) == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"<html>",
        b"\xff",
        b"[1]",
        b'[{"connected": true}]',
        b'[{"node_name": "a"}]',
        b'[{"node_name": "a", "connected": "yes"}]',
        b'[{"node_name": "a\\u001b[2J", "connected": true}]',
        b'[{"node_name": "a", "connected": true}, {"node_name": "a", "connected": false}]',
        b"[" * 100_000,
    ],
)
async def test_what_is_no_list_of_nodes_is_no_answer(body):
    with pytest.raises(NodeUnreachable, match="cannot read"):
        await client(FixedWire(body=body)).nodes()


class Answers(Http):
    """A wire whose answers depend on the call; calls without their own get `others`."""

    def __init__(self, **answers):
        self.answers = answers

    async def send(self, method, url, *, headers, **_):
        return self.answers.get(headers["x-sora-target"].rpartition(".")[2], self.answers["others"])


@pytest.mark.parametrize(
    "report",
    [
        HttpAnswer(200, {}, b'{"version": "2024.1.0"}'),
        HttpAnswer(400, {}, b'{"error_type": "MissingTarget"}'),
    ],
)
async def test_an_empty_list_counts_where_another_call_is_answered_as_sora_does(report):
    assert await client(Answers(others=HttpAnswer(200, {}, b"[]"), GetStatsReport=report)).nodes() == ()


@pytest.mark.parametrize(
    "other",
    [
        HttpAnswer(200, {}, b"[]"),
        HttpAnswer(200, {}, b'{"ok": 1}'),
        HttpAnswer(404, {}, b""),
        HttpAnswer(400, {}, b"{}"),
    ],
)
async def test_an_empty_list_of_a_server_that_is_not_sora_is_no_node_without_a_cluster(other):
    with pytest.raises(NodeUnidentified, match="empty list"):
        await client(Answers(others=other, ListClusterNodes=HttpAnswer(200, {}, b"[]"))).nodes()


async def test_an_answer_of_another_server_is_reported_with_its_url():
    page = FixedWire(502, b"<html>\n<b>bad</b>", {"content-type": "text/html; charset=utf-8"})
    with pytest.raises(NodeUnidentified) as caught:
        await client(page).nodes()
    assert caught.value.reason == (
        'ListClusterNodes: http://192.0.2.5:3000/ answered 502, text/html, beginning "<html> <b>bad</b>"; '
        "this is not an answer of Sora's API"
    )


async def test_channels_are_read_with_their_owners():
    body = b'[{"channel_id": "sora", "owners": [{"node_name": "a@h.e", "connected": true}]}]'
    assert (await client(FixedWire(body=body)).channels())[0].owners[0].node_name == "a@h.e"
    with pytest.raises(NodeUnreachable, match="list of channels"):
        await client(FixedWire(body=b'{"channel_id": 1}')).channels()


async def test_an_error_of_soras_own_keeps_its_code():
    wire = refused(400, {"error_type": "NODE-IS-ALIVE", "error_reason": {"target_node": "a@h.e"}})
    with pytest.raises(NodeRefused, match="PurgeClusterNode was refused: NODE-IS-ALIVE") as caught:
        await client(wire).purge("a@h.e")
    assert (caught.value.code, caught.value.status) == ("NODE-IS-ALIVE", 400)


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (500, b"", NodeUnidentified, "unless Sora crashed"),
        (401, b"", NodeUnauthorized, "not allowed .* without a body"),
        (
            403,
            b"<h1>no</h1>",
            NodeUnauthorized,
            r'not allowed .* answered 403, .*"<h1>no</h1>"',
        ),
        (400, b"", NodeUnidentified, "not an answer of Sora's API"),
        (400, b'{"error_type": 1}', NodeUnidentified, "not an answer of Sora's API"),
        (400, b"[" * 100_000, NodeUnidentified, "not an answer of Sora's API"),
        (404, b"<html>", NodeUnreachable, "404"),
        (502, b"bad gateway", NodeUnreachable, "502"),
    ],
)
async def test_other_answers_have_errors_of_their_own(status, body, error, words):
    with pytest.raises(error, match=words) as caught:
        await client(refused(status, body)).nodes()
    assert getattr(caught.value, "code", "") == ""


async def test_a_redirection_is_not_followed_and_shows_no_password():
    wire = refused(307, b"", {"location": "https://user:secret@h.example:3000/api?token=secret"})
    with pytest.raises(NodeRefused, match=r"https://h\.example:3000/api") as caught:
        await client(wire).nodes()
    assert "secret" not in str(caught.value)
    assert len(wire.sent) == 1


@pytest.mark.parametrize("location", ["", "http://[", "http://h:port/"])
async def test_a_redirection_to_an_invalid_address_is_reported(location):
    with pytest.raises(NodeRefused, match="another address"):
        await client(refused(307, b"", {"location": location})).nodes()


async def test_text_of_a_node_is_bounded_and_on_one_line():
    long = refused(400, {"error_type": "X" * 1000, "error_reason": "a\n\x1b[2J" * 1000})
    with pytest.raises(NodeRefused) as caught:
        await client(long).register("a@h.e")
    assert len(str(caught.value)) < 600
    assert "\x1b" not in str(caught.value)
    assert len(await client(FixedWire(body=b"x" * 10_000)).register("a@h.e")) < 400


async def test_silence_passes_through():
    with pytest.raises(NodeUnreachable, match="connection refused"):
        await client(FixedWire(error=NodeUnreachable("node-01", "connection refused"))).nodes()
