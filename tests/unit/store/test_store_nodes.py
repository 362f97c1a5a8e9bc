"""Nodes that poll, in the file: nothing secret in clear, nothing lost by a kill, backups deliver nothing."""

import json
import subprocess
import sys
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
from support.offers import NOON, make_draft

from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.offers import OfferFeed
from reconciler.core.operations import Operation, OperationResult, OperationState
from reconciler.core.secret import reveal
from reconciler.host.clock import utc_now
from reconciler.ports.node_store import CallRecord
from reconciler.store.factory import back_up_store, open_store, restore_store
from reconciler.store.sql import operations
from reconciler.store.sql.content_parts import ContentParts
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.node_offers import KEPT_LABELS, KEPT_OFFERS

OURS = FleetIdentity("/srv/ours", name="ours")
PLANTED = "planted-secret-7f3a9c"


def digest(token):
    return sha256(token.encode()).hexdigest()


async def token_of(store, node="a"):
    return reveal((await store.tokens("c", [node]))[node].current)


def call(**changes):
    return CallRecord(**{"fleet": 1, "cluster": "c", "node": "a", "at": NOON, **changes})


async def fill(store):
    """Everything that may hold a secret; gives the tokens."""
    await store.enrol("c", "m2", ["a", "b"])
    tokens = [await token_of(store)]
    await store.rotate("c", "a", Actor())
    tokens.append(await token_of(store))
    body = json.dumps({"password": PLANTED, "url": f"https://host/{tokens[1]}/setting"}).encode()
    draft = replace(make_draft("a", body), label="v1", content=PLANTED, former=(body + b" ", body * 300))
    offer = await store.offer(draft, "run", "rev")
    report = call(
        kind="setting.feedback",
        body=body,
        content=body,
        offer=offer.id,
        token=digest(tokens[0]),
        about=OfferFeed.SETTING,
    )
    await store.record_calls([call(feed=OfferFeed.SETTING, took=offer.id), report])
    target = f"www.example.com/{PLANTED}"
    purge = Operation(
        id="op", kind="purge", cluster="c", targets=(target,), actor=Actor(), at=NOON, deadline=NOON
    )
    await store.begin_operation(purge)
    failed = OperationResult("a", OperationState.FAILED, f"{target}: E0004")
    await store.record_results("op", [failed])
    assert (await store.operation("op")).result("a").reason == failed.reason
    return tokens


async def test_an_offer_of_a_suspended_cluster_is_not_taken_also_before_the_node_server_knows_it(tmp_path):
    for cluster in ("c", ""):
        with open_store(tmp_path / f"state{cluster}") as store:
            own = await store.enter_fleet(OURS)
            await own.enrol("c", "m2", ["a", "b"])
            offer = await own.offer(make_draft("a", b"x"), "run", "rev")
            taken = await own.offer(make_draft("b", b"x"), "run", "rev")
            again = call(node="b", feed=OfferFeed.SETTING, took=taken.id)
            assert await own.record_calls([again]) == frozenset()
            await own.suspend(cluster, "", Actor())
            assert await own.record_calls([again]) == frozenset(), "it stays the node's"
            assert await own.record_calls([call(feed=OfferFeed.SETTING, took=offer.id)]) == {offer.id}
            await own.resume(cluster, Actor())
            assert await own.record_calls([call(feed=OfferFeed.SETTING, took=offer.id)]) == frozenset()


async def test_no_setting_and_no_token_is_in_clear_in_any_file(tmp_path):
    folder, backup = tmp_path / "state", tmp_path / "backup"
    with open_store(folder) as store:
        tokens = await fill(await store.enter_fleet(OURS))
        back_up_store(folder, backup)
        files = [file for file in folder.rglob("*") if file.is_file() and file.name != "host.key"]
        assert [file for file in files if file.name.endswith("-wal") and file.stat().st_size]
        kept = b"".join(file.read_bytes() for file in (*files, backup))
    kept += backup.read_bytes() + b"".join(file.read_bytes() for file in folder.glob("state*"))
    for secret in (PLANTED, *tokens):
        for form in (
            secret.encode(),
            b64encode(secret.encode()).rstrip(b"=")[:-1],
            secret.encode().hex().encode(),
        ):
            assert form not in kept
        assert sha256(PLANTED.encode()).hexdigest().encode() not in kept, "open to guesses"


async def test_without_the_key_contents_are_gone_and_nodes_keep_their_tokens_until_the_next_one(tmp_path):
    with open_store(tmp_path) as store:
        own = await store.enter_fleet(OURS)
        _, former = await fill(own)
        (tmp_path / "host.key").unlink()
    with open_store(tmp_path) as store:
        own = store.select_fleet(1)
        mail = (await own.mail("c", ["a"]))["a"]
        assert (mail.items, mail.content, mail.offers[0].parts) == ({}, None, ())
        assert await own.parts(mail.offers[0].offer) is None
        assert [one.targets for one in await own.operations()] == [()]
        new = await token_of(own)
        assert new != former
        await own.enrol("c", "m2", ["a", "b"])
        assert await token_of(own) == new
        await own.record_calls([call(token=digest(former), feed=OfferFeed.SETTING)])
        known = {one.digest: one.is_current for one in (await own.read_changes(0)).tokens if not one.ended}
        assert (known[digest(former)], known[digest(new)]) == (False, True)
        await own.record_calls([call(token=digest(new), feed=OfferFeed.SETTING)])
        known = {one.digest for one in (await own.read_changes(0)).tokens if not one.ended}
        assert digest(former) not in known


def test_a_record_is_read_for_its_purpose_only_and_only_as_it_was_written(tmp_path):
    key = HostKey(tmp_path)
    for data in (b"", b"short", b"long " * 1_000):
        sealed = key.seal(data, "report")
        assert HostKey(tmp_path).unseal(sealed, "report") == data
        assert key.unseal(sealed, "setting") is None
        assert key.unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), "report") is None
        assert key.unseal(sealed[:20], "report") is None
    assert key.seal(b"x", "report") != key.seal(b"x", "report")
    assert key.make_digest(b"x", "one") != key.make_digest(b"x", "two")


async def test_a_content_is_stored_once_and_goes_with_its_last_offer(tmp_path):
    shared = b"resource" * 1_000

    async def count(store):
        return await store._read(lambda tx: tx.execute("SELECT count(*) FROM content_part").fetchone()[0])

    with open_store(tmp_path) as host:
        store = await host.enter_fleet(OURS)
        for node in "abc":
            await store.offer(replace(make_draft(node), parts=(node.encode(), shared)), "r", "v")
        assert await count(store) == 4
        for number in range(KEPT_OFFERS):
            await store.offer(make_draft("a", b"%d" % number), "r", "v")
        assert await count(store) == 3 + KEPT_OFFERS
        offer = (await store.mail("c", ["b"]))["b"].offers[0].offer
        assert await store.parts(offer) == (b"b", shared)


async def test_what_a_node_took_stays_however_many_offers_follow(tmp_path):
    with open_store(tmp_path) as host:
        store = await host.enter_fleet(OURS)
        first = await store.offer(make_draft("a", b"had"), "r", "v")
        assert not await store.record_calls([call(feed=OfferFeed.SETTING, took=first.id)])
        for number in range(3 * KEPT_OFFERS):
            await store.offer(make_draft("a", b"%d" % number), "r", "v")
        newest, taken = (await store.mail("c", ["a"]))["a"].offers
    assert (newest.parts, taken.offer.id, taken.parts) == ((b"14",), first.id, (b"had",))


async def test_labels_are_remembered_beyond_the_offers(tmp_path):
    with open_store(tmp_path) as host:
        store = await host.enter_fleet(OURS)
        for number in range(KEPT_LABELS - 1):
            await store.offer(replace(make_draft("a", b"%d" % number), label=f"v{number}"), "r", "v")
        await store.offer(replace(make_draft("a"), label="v0", content="other"), "r", "v")
        assert not (await store.mail("c", ["a"]))["a"].offers[0].is_label_unique


def test_decrypted_contents_are_kept_up_to_a_number_of_bytes(tmp_path):
    parts = ContentParts(HostKey(tmp_path), limit=10)
    for number in range(9):
        parts._keep(str(number), bytes([number]) * 4)
    parts._keep("large", bytes(11))
    assert list(parts._parts) == ["7", "8"]
    assert parts._size == 8
    assert len(parts._digests) == 2


async def test_a_restored_backup_delivers_nothing_and_recognises_newer_tokens(tmp_path):
    folder, backup = tmp_path / "state", tmp_path / "backup"
    with open_store(folder, clock=lambda: NOON) as host:
        store = await host.enter_fleet(OURS)
        await store.enrol("c", "m2", ["a"])
        first = await token_of(store)
        offer = await store.offer(replace(make_draft("a", b"1"), label="v1"), "r", "v")
        await store.record_calls([call(feed=OfferFeed.SETTING, took=offer.id)])
        await store.offer(make_draft("a", b"2"), "r2", "v")
        back_up_store(folder, backup)
        await store.rotate("c", "a", Actor())
        second = await token_of(store)
        await store.record_calls([call(token=digest(second), feed=OfferFeed.SETTING)])
    restore_store(folder, backup, prepare=lambda _: None)
    with open_store(folder, clock=lambda: NOON + timedelta(hours=1)) as host:
        store = host.select_fleet(1)
        assert (await store.read_changes(0)).offers == {}
        mail = (await store.mail("c", ["a"]))["a"]
        assert [one.parts for one in mail.offers] == [(b"2",), (b"1",)], "evidence of what it may have"
        await store.enrol("c", "m2", ["a"])
        await store.record_calls([call(token=digest(second), feed=OfferFeed.SETTING)])
        known = {one.digest: one.is_current for one in (await store.read_changes(0)).tokens if not one.ended}
        assert known == {digest(second): True}
        assert await token_of(store) == second != first
        new = await store.offer(make_draft("a", b"2"), "r2", "v")
        assert (await store.read_changes(0)).offers[1, "c", "a"] == {OfferFeed.SETTING: (new, None)}


async def test_two_memories_of_one_fleet_keep_the_tokens_of_both(tmp_path):
    with open_store(tmp_path) as host:
        first = await host.enter_fleet(FleetIdentity("/one"))
        second = await host.enter_fleet(FleetIdentity("/two", roots=("f" * 40,)))
        tokens = []
        for store, nodes in ((first, ["a"]), (second, ["a", "b"])):
            await store.enrol("c", "m2", nodes)
            tokens += [await token_of(store, node) for node in nodes]
        own = await host.enter_fleet(FleetIdentity("/one", roots=("f" * 40,)))
        changes = await own.read_changes(0)
    assert {one.digest for one in changes.tokens if one.ended is None} == set(map(digest, tokens))
    assert {(one.fleet, one.node) for one in changes.tokens} == {(1, "a"), (1, "b")}


async def test_the_tokens_of_a_removed_cluster_end(tmp_path):
    with open_store(tmp_path) as host:
        store = await host.enter_fleet(OURS)
        await store.enrol("c", "m2", ["a"])
        await store.enrol("d", "m2", ["a"])
        await store.offer(make_draft("a"), "r", "v")
        await store.forget_members("c")
        changes = await store.read_changes(0)
    assert [(one.cluster, one.ended is None) for one in changes.tokens] == [("c", False), ("d", True)]
    ((offer, _),) = [feeds[OfferFeed.SETTING] for feeds in changes.offers.values()]
    assert offer.withdrawn


async def test_a_node_that_left_long_ago_is_forgotten_with_all_it_had(tmp_path):
    now = [NOON]
    with open_store(tmp_path, clock=lambda: now[0]) as host:
        store = await host.enter_fleet(OURS)
        await fill(store)
        await store.enrol("c", "m2", ["b"])
        now[0] += timedelta(days=91)
        await store.enrol("c", "m2", ["b"])
        assert {one.node for one in (await store.read_changes(0)).tokens} == {"b"}
        tables = ("node_offer", "offer_part", "content_part", "node_report", "node_content", "node_label")
        left = [
            await store._read(lambda tx, own=table: tx.execute(f"SELECT count(*) FROM {own}").fetchone()[0])
            for table in tables
        ]
        assert left == [0] * len(tables)


WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from reconciler.core.offers import OfferFeed
from reconciler.host.clock import utc_now
from reconciler.ports.node_store import CallRecord
from reconciler.store.factory import open_store
from reconciler.ports.transport import OfferDraft

async def main():
    with open_store(Path(sys.argv[1])) as host:
        store, number = host.select_fleet(1), int(sys.argv[2])
        while True:
            number += 1
            own = str(number)
            draft = OfferDraft(
                cluster="c", node="a", feed=OfferFeed.SETTING, step=own, parts=(own.encode(),), seconds=60
            )
            offer = await store.offer(draft, own, "v")
            print("offer", number, flush=True)
            now = datetime.now(UTC)
            await store.record_calls([
                CallRecord(fleet=1, cluster="c", node="a", at=now, feed=OfferFeed.SETTING, took=offer.id),
                *(CallRecord(fleet=1, cluster="c", node=node, at=now, kind="heartbeat", body=b"%d" % number)
                  for node in "ab"),
            ])
            print("calls", number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 2, 7, 20])
async def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path, lines):
    with open_store(tmp_path) as host:
        await (await host.enter_fleet(OURS)).enrol("c", "m2", ["a", "b"])
    last = {"offer": 0, "calls": 0}
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(max(last.values()))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as writer:
            said = [writer.stdout.readline() for _ in range(lines)]
            writer.kill()
            assert all(said), writer.stderr.read()
            said += writer.stdout.readlines()
        for line in said:
            with suppress(ValueError):  # the last line may be cut
                what, number = line.split()
                last[what] = max(last[what], int(number))
        with open_store(tmp_path) as host:
            mail = await host.select_fleet(1).mail("c", ["a", "b"])
        reported = {int(one.items["heartbeat"].body) for one in mail.values() if one.items} or {0}
        assert len(reported) == 1, "all calls of a batch, or none"
        assert last["calls"] <= max(reported) <= max(last.values()) + 1
        offered = int(mail["a"].offers[0].parts[0])
        assert last["offer"] <= offered <= last["offer"] + 1
        taken = [int(one.parts[0]) for one in mail["a"].offers if one.offer.taken]
        assert (taken or [0]) == [max(reported)]


async def test_the_newest_operations_are_kept_and_those_that_have_not_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(operations, "KEPT_OPERATIONS", 2)
    with open_store(tmp_path) as host:
        store = await host.enter_fleet(OURS)
        for number in range(6):
            name = f"op-{number}"
            result = OperationResult("a", OperationState.DONE)
            await store.begin_operation(
                Operation(
                    id=name,
                    kind="purge",
                    cluster="c",
                    targets=("x",),
                    actor=Actor(),
                    at=NOON,
                    deadline=NOON,
                    waves=(("a",),),
                    results={"a": result},
                )
            )
            if number != 1:
                await store.end_operation(name)
        assert [one.id for one in await store.operations()] == ["op-5", "op-4", "op-1"]
        left = await store._read(lambda tx: tx.execute("SELECT count(*) FROM operation_result").fetchone()[0])
        assert left == 3


def called(node="a", count=3, *targets, failed="", **changes):
    state = OperationState.FAILED if failed else OperationState.DONE
    result = OperationResult(node, state, failed, {"count": count})
    return call(
        node=node, kind="purge.feedback", targets=targets or ("a.com/x", "a.com/y"), result=result, **changes
    )


async def call_nodes(store, name="op", totals=None, state=OperationState.DONE, **changes):
    """An operation whose node was called, with what it answered."""
    given = {"targets": ("a.com/x", "a.com/y"), "direct": True, "waves": (("a",),), **changes}
    now = utc_now()
    await store.begin_operation(
        Operation(id=name, kind="purge", cluster="c", actor=Actor(), at=now, deadline=now, **given)
    )
    await store.record_results(name, [OperationResult("a", state, totals=totals or {})])


async def test_a_report_has_the_counts_of_a_purge_that_its_node_had_queued(tmp_path):
    with open_store(tmp_path) as store:
        own = await store.enter_fleet(OURS)
        await own.enrol("c", "m2", ["a", "b"])
        await call_nodes(own, totals={"queued": 1})
        await own.record_calls(
            [called("b", 9), called("a", 9, "a.com/x"), called("a", 3, "a.com/y", "a.com/x")]
        )
        assert (await own.operation("op")).result("a").totals == {"count": 3}
        await own.record_calls([called("a", 8)])
        assert (await own.operation("op")).result("a").totals == {"count": 3}, "each node counts once"


@pytest.mark.parametrize("state", [OperationState.SENT, OperationState.OVERDUE])
async def test_a_report_settles_a_call_whose_answer_was_lost(tmp_path, state):
    with open_store(tmp_path) as store:
        own = await store.enter_fleet(OURS)
        await own.enrol("c", "m2", ["a"])
        await call_nodes(own, state=state)
        await own.record_calls([called("a", 0, failed="E0004")])
        found = (await own.operation("op")).result("a")
    assert (found.state, found.reason) == (OperationState.FAILED, "E0004")


@pytest.mark.parametrize(
    "changes",
    [
        {"totals": {"count": 1}},
        {"state": OperationState.PENDING},
        {"state": OperationState.FAILED},
        {"state": OperationState.SENT, "direct": False},
    ],
)
async def test_a_report_changes_nothing_that_is_known_or_was_not_called(tmp_path, changes):
    with open_store(tmp_path) as store:
        own = await store.enter_fleet(OURS)
        await own.enrol("c", "m2", ["a"])
        await call_nodes(own, **changes)
        before = await own.operation("op")
        await own.record_calls([called()])
        assert await own.operation("op") == before


async def test_two_equal_purges_get_their_counts_in_turn(tmp_path):
    with open_store(tmp_path) as store:
        own = await store.enter_fleet(OURS)
        await own.enrol("c", "m2", ["a"])
        for name in ("first", "second"):
            await call_nodes(own, name, totals={"queued": 1})
        await own.record_calls([called("a", 1)])
        await own.record_calls([called("a", 2)])
        counts = [(await own.operation(name)).result("a").totals["count"] for name in ("first", "second")]
    assert counts == [1, 2]


async def test_the_version_of_a_node_that_only_reports_is_that_of_its_reports(tmp_path):
    with open_store(tmp_path) as store:
        own = await store.enter_fleet(OURS)
        await own.enrol("c", "m2", ["a"])
        await own.record_calls([call(kind="heartbeat.feedback", label="v1")])
        assert [one.label for one in await own.contacts()] == ["v1"]
        await own.record_calls([call(feed=OfferFeed.SETTING, label="v2")])
        await own.record_calls([call(kind="heartbeat.feedback", label="always 1")])
        assert [one.label for one in await own.contacts()] == ["v2"], "its polls are the evidence"


async def test_the_report_about_an_offer_that_arrives_again_does_not_hide_what_the_node_reported_since(
    tmp_path,
):
    with open_store(tmp_path) as store:
        own = await store.enter_fleet(OURS)
        await own.enrol("c", "m2", ["a"])
        offer = await own.offer(make_draft("a", b"x"), "run", "rev")
        await own.record_calls([call(feed=OfferFeed.SETTING, took=offer.id)])
        kind, about = "setting.feedback", OfferFeed.SETTING
        done = OperationResult("a", OperationState.DONE)
        loaded = call(kind=kind, body=b"loaded", content=b"offered", offer=offer.id, about=about, result=done)
        await own.record_calls([loaded])
        await own.record_calls([call(kind=kind, body=b"edited", content=b"edited")])
        await own.record_calls([loaded])
        assert (await own.mail("c", ["a"]))["a"].content.body == b"edited"
        again = replace(loaded, body=b"loaded once more, with a later timestamp")
        await own.record_calls([again])
        assert (await own.mail("c", ["a"]))["a"].content.body == b"offered"
