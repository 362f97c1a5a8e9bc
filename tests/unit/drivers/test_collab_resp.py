"""RESP2: complete replies whatever their parts, within bounds, and nothing that is not Redis."""

import time
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers.collab.redis_client import is_reading
from reconciler.drivers.collab.resp import (
    ErrorReply,
    ReplyReader,
    StatusReply,
    encode_commands,
    read_commands,
)
from reconciler.ports.transport import OtherProtocol

WORDS = st.text(max_size=40).filter(lambda text: text.isprintable() or "\n" in text)
REPLIES = st.recursive(
    st.one_of(
        st.none(),
        st.integers(-(2**60), 2**60),
        st.binary(max_size=60),
        st.builds(StatusReply, st.from_regex(r"[A-Z]{1,10}", fullmatch=True)),
        st.builds(ErrorReply, st.from_regex(r"ERR [a-z]{1,10}", fullmatch=True)),
    ),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


def encode(reply):
    match reply:
        case None:
            return b"$-1\r\n"
        case StatusReply(text=text):
            return f"+{text}\r\n".encode()
        case ErrorReply(text=text):
            return f"-{text}\r\n".encode()
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(map(encode, reply))


@given(st.lists(REPLIES, min_size=1, max_size=4), st.lists(st.integers(0, 300), max_size=8))
def test_replies_are_complete_at_their_last_byte_whatever_their_parts(replies, cuts):
    raw = b"".join(map(encode, replies))
    reader = ReplyReader(len(replies))
    ends = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    done = [reader.feed(raw[start:end]) for start, end in pairwise(ends)]
    assert reader.replies == replies
    assert done == [False] * (len(done) - 1) + [True]


@given(st.lists(st.lists(st.text(max_size=20), min_size=1, max_size=5).map(tuple), min_size=1, max_size=5))
def test_a_request_is_read_as_it_was_written(commands):
    try:
        raw = encode_commands(*commands)
    except UnicodeEncodeError:
        return
    assert list(read_commands(raw)) == [tuple(word.encode() for word in command) for command in commands]


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(raw):
    reader = ReplyReader(2)
    with suppress(OtherProtocol):  # any other exception is a defect
        reader.feed(raw)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", 'not that of a Redis, beginning "HTTP'),
        (b"\x15\x03\x01\x00", "not that of a Redis"),
        (b"$99999999999\r\n", "a number that is none"),
        (b"$-2\r\n", "a number that is none"),
        (b"$9999999\r\n", "a string of more than"),
        (b"*1000000\r\n", "an array of more than"),
        (b"*1\r\n" * 9, "arrays within each other"),
        (b"*4000\r\n*4000\r\n" + b":1\r\n" * 8000, "elements"),
        (b"$3\r\nabcd\r\n", "of another length"),
        (b"+" + b"x" * 70_000, "a line of more than"),
        (b":1x\r\n", "a number that is none"),
        (b"+OK\r\n+OK\r\n", "more replies"),
    ],
)
def test_what_is_not_resp_or_exceeds_a_bound_is_refused(raw, words):
    with pytest.raises(OtherProtocol, match=words):
        ReplyReader(1).feed(raw)


def test_many_small_parts_cost_no_more_than_one():
    raw = b"*4000\r\n" + b"$1\r\nx\r\n" * 4000
    reader, begin = ReplyReader(1), time.perf_counter()
    for index in range(len(raw)):
        reader.feed(raw[index : index + 1])
    assert len(reader.replies[0]) == 4000
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    "text", ["DENIED Redis is running in protected mode", "ERR max number of clients reached"]
)
def test_an_error_that_ends_the_connection_is_the_last_reply(text):
    reader = ReplyReader(5)
    assert reader.feed(f"-{text}\r\n".encode())
    assert reader.replies == [ErrorReply(text)]


@pytest.mark.parametrize(
    "commands",
    [
        [("PING",)],
        [("AUTH", "FLUSHALL")],
        [("PING",), ("AUTH", "a\r\nFLUSHALL\r\n"), ("INFO", "server"), ("CONFIG", "GET", "bind")],
        [("ACL", "GETUSER", "default")],
    ],
)
def test_documented_reading_commands_are_allowed(commands):
    assert is_reading(encode_commands(*commands))


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"PING\r\n",
        b"FLUSHALL\r\n",
        encode_commands(("FLUSHALL",)),
        encode_commands(("PING",), ("FLUSHALL",)),
        encode_commands(("PING",)) + b"FLUSHALL\r\n",
        encode_commands(("PING",)) + b"*1\r\n$8\r\nFLUSHALL",
        encode_commands(("CONFIG", "SET", "bind")),
        encode_commands(("CONFIG", "GET", "bind", "x")),
        encode_commands(("ACL", "SETUSER", "default")),
        encode_commands(("AUTH", "user", "password")),
        encode_commands(("CONFIG", "REWRITE")),
        b"*1\r\n:1\r\n",
        b"*0\r\n",
        b"+PING\r\n",
        b"*1\r\n$2\r\n\xff\xff\r\n",
    ],
)
def test_every_other_request_is_not_one_that_reads(request_):
    assert not is_reading(request_)
