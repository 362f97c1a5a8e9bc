"""The client of Redis against the simulated one, over TCP: what it shows, its passwords, and its refusals."""

import logging
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from support.collab_worlds import make_world
from support.http_servers import listening

from reconciler.drivers.collab.redis_client import READS, RedisClient, hash_login
from reconciler.errors import (
    NodeError,
    NodeRefused,
    NodeUnauthorized,
    NodeUnidentified,
    NodeUnreachable,
    WriteRefused,
)
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.transport import Transports
from reconciler.transports.streams import StreamTransport

REDIS_FILE = b"bind 0.0.0.0\nport 6379\nrequirepass old\n"


def serve_session(world, peer="127.0.0.1"):
    async def serve(reader, writer):
        session = world.open_session("redis", peer)
        if answer := session.receive(b""):
            writer.write(answer)
        while not session.is_over and (data := await reader.read(65536)):
            writer.write(session.receive(data))
            await writer.drain()
        writer.close()

    return serve


@asynccontextmanager
async def client_of(serve, *logins, reading=False):
    streams = StreamTransport()
    if reading:
        streams = restrict_to_reading(Transports(streams=streams), READS).streams
    async with listening(serve) as url:
        yield RedisClient(streams, "redis", urlsplit(url).netloc, 2, logins)


def client_for(world, *logins, peer="127.0.0.1", reading=False):
    return client_of(serve_session(world, peer), *logins, reading=reading)


def scripted(*replies):
    async def serve(reader, writer):
        await reader.read(65536)
        writer.write(b"".join(replies))
        await writer.drain()
        writer.close()

    return serve


async def test_what_redis_shows_with_the_password_that_it_is_to_demand():
    async with client_for(make_world(redis_file=REDIS_FILE), "older", reading=True) as redis:
        view = await redis.observe("old", ["bind", "requirepass", "a*b", "no-such-key"])
    assert (view.accepts, view.is_open, view.is_logged_in, view.is_loading) == (True, False, True, False)
    assert view.passwords == {hash_login("old")}
    assert dict(view.config) == {"bind": "0.0.0.0"}
    assert len(view.run_id) == 40
    assert "old" not in repr(view).replace("is_loading", "")


async def test_a_former_password_lets_in_where_the_desired_one_does_not():
    async with client_for(make_world(redis_file=REDIS_FILE), "no", "old", reading=True) as redis:
        view = await redis.observe("new", ["bind"])
    assert (view.accepts, view.is_logged_in, view.passwords) == (False, True, {hash_login("old")})


async def test_without_a_right_password_it_shows_only_that_it_runs():
    async with client_for(make_world(redis_file=REDIS_FILE), "no", reading=True) as redis:
        view = await redis.observe("new")
    assert (view.accepts, view.is_logged_in, view.passwords, view.is_open) == (False, False, None, False)


async def test_an_open_redis_is_seen_as_open():
    async with client_for(make_world(redis_file=b"bind 0.0.0.0\nprotected-mode no\n"), reading=True) as redis:
        view = await redis.observe("", ["bind"])
        assert (view.accepts, view.is_open, view.passwords) == (None, True, frozenset())
        view = await redis.observe("new", ["bind"])
        assert (view.accepts, view.is_open) == (False, True)


async def test_a_password_is_added_and_then_the_former_one_goes_also_after_a_restart():
    world = make_world(redis_file=REDIS_FILE)
    async with client_for(world, "old", "new") as redis:
        assert "beside the others" in await redis.add_password("new")
        for _ in range(2):
            assert [await redis.accepts(one) for one in ("old", "new", "x")] == [True, True, False]
            world.restart("redis")
        assert "alone" in await redis.keep_only("new")
        for _ in range(2):
            assert [await redis.accepts(one) for one in ("old", "new", "x")] == [False, True, False]
            world.restart("redis")
        assert await redis.keep_only("new"), "a second time changes nothing and is no failure"


async def test_a_reading_client_cannot_change_a_password():
    async with client_for(make_world(redis_file=REDIS_FILE), "old", reading=True) as redis:
        with pytest.raises(WriteRefused):
            await redis.add_password("new")


async def test_a_change_without_a_right_password_is_refused_before_it_is_sent():
    world = make_world(redis_file=REDIS_FILE)
    async with client_for(world, "no") as redis:
        with pytest.raises(NodeUnauthorized, match="refuses every password that is known here"):
            await redis.add_password("new")
    assert world.redis.passwords == {hash_login("old")}


async def test_protected_mode_is_told():
    world = make_world(redis_file=b"bind 0.0.0.0\n")
    async with client_for(world, peer="192.0.2.7") as redis:
        for call in (redis.observe("new"), redis.add_password("new"), redis.accepts("new")):
            with pytest.raises(NodeUnauthorized, match="protected mode"):
                await call


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", NodeRefused, "still reading its data"),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", NodeRefused, "cannot write its data"),
        (b"-NOPERM this user has no permissions\r\n", NodeUnauthorized, "may not run ACL SETUSER"),
        (b"-NOAUTH Authentication required.\r\n", NodeUnauthorized, "demands a password"),
        (b"-READONLY You can't write against a read only replica.\r\n", NodeRefused, "is a replica"),
        (b"-ERR unknown command 'ACL', with args beginning with: 'geheim'\r\n", NodeRefused, "does not know"),
        (b"-ERR something else geheim\r\n", NodeRefused, "it refuses ACL SETUSER: ERR something else"),
        (b":1\r\n", NodeUnidentified, "not that of a Redis"),
    ],
)
async def test_each_refusal_of_a_change_is_a_sentence_without_the_password(reply, kind, words, caplog):
    caplog.set_level(logging.DEBUG)
    asked = []

    async def serve(reader, writer):
        asked.append(await reader.read(65536))
        denied = b"-NOAUTH Authentication required.\r\n"
        answers = [denied, denied + b"+OK\r\n", b"+OK\r\n" + reply + b"+OK\r\n"]
        writer.write(answers[min(len(asked), 3) - 1])
        await writer.drain()
        writer.close()

    async with client_of(serve, "geheim") as redis:
        with pytest.raises(kind, match=words) as caught:
            await redis.add_password("geheim")
    assert "geheim" not in f"{caught.value!r} {caught.value} {caught.value.remedy} {redis!r} {caplog.text}"
    assert asked[2].count(b"geheim") == 1, "in AUTH alone; the rule has the digest"


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+HELLO\r\n", b"$3\r\nabc\r\n", b""]
)
@pytest.mark.parametrize("call", ["observe", "accepts", "add_password", "keep_only"])
async def test_what_is_no_redis_is_never_shown_a_password(answer, call):
    asked = []

    async def serve(reader, writer):
        asked.append(await reader.read(65536))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with client_of(serve, "geheim") as redis:
        with pytest.raises(NodeError):
            await getattr(redis, call)("secret")
    assert asked
    assert not any(b"geheim" in one or b"secret" in one for one in asked)


async def test_a_change_that_could_not_be_written_is_told():
    replies = [
        b"-NOAUTH Authentication required.\r\n",
        b"-NOAUTH Authentication required.\r\n+OK\r\n",
        b"+OK\r\n+OK\r\n-ERR The server is running without a config file\r\n",
    ]

    async def serve(reader, writer):
        await reader.read(65536)
        writer.write(replies.pop(0))
        await writer.drain()
        writer.close()

    async with client_of(serve, "old") as redis:
        with pytest.raises(NodeRefused, match=r"would be lost at a restart.*without a config file") as caught:
            await redis.add_password("new")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("replies", "kind", "words"),
    [
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], NodeUnidentified, "not that of a Redis"),
        ([b"+PONG\r\n"], NodeUnreachable, "in the middle of its answer"),
        ([], NodeUnreachable, "without an answer"),
        ([b"-ERR max number of clients reached\r\n"], NodeRefused, "no room for another connection"),
        ([b":5\r\n"] * 6, NodeUnidentified, "answer to PING is not that"),
        ([b"*1\r\n" * 20], NodeUnidentified, "within each other"),
    ],
)
async def test_hostile_answers_are_errors_of_the_node(replies, kind, words):
    async with client_of(scripted(*replies)) as redis:
        with pytest.raises(kind, match=words):
            await redis.observe()


async def test_a_redis_that_loads_and_hides_everything_is_still_a_redis():
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    refused = b"-NOPERM this user has no permissions\r\n"
    async with client_of(scripted(loading, loading, refused, refused, refused, refused)) as redis:
        view = await redis.observe()
    assert (view.is_loading, view.run_id, view.passwords, dict(view.config)) == (True, "", None, {})


async def test_data_of_another_form_is_left_out():
    replies = [
        b"+PONG\r\n+PONG\r\n",
        b"$4\r\nrun_\r\n",
        b":1\r\n",
        b"*2\r\n$9\r\npasswords\r\n*1\r\n$1\r\nx\r\n",
    ]
    pair = b"*2\r\n$5\r\nother\r\n$1\r\nx\r\n"
    async with client_of(scripted(*replies, pair, pair)) as redis:
        view = await redis.observe("", ["bind"])
    assert (view.run_id, view.passwords, dict(view.config)) == ("", None, {})


async def test_a_password_of_bytes_that_are_not_utf8_is_sent_as_it_is():
    asked = []

    async def serve(reader, writer):
        asked.append(await reader.read(65536))
        writer.write(b"+OK\r\n" if b"AUTH" in asked[-1] else b"-NOAUTH Authentication required.\r\n")
        await writer.drain()
        writer.close()

    async with client_of(serve, reading=True) as redis:
        assert await redis.accepts("a\udcff")
    assert asked[-1].endswith(b"*2\r\n$4\r\nAUTH\r\n$2\r\na\xff\r\n")
