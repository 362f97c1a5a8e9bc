"""Log lines: complete, parseable, and never with a secret in them."""

import io
import json
import logging

import pytest

from reconciler.core.secret import Secret
from reconciler.server.logs import LibraryLogBridge, open_log
from reconciler.server.throttle import BURST, Throttle


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_begin_with_time_level_and_event():
    stream = io.StringIO()
    open_log(stream, form="json").bind(cluster="edge").info("pass ended", result="converged")
    assert list(lines(stream)[0]) == ["timestamp", "level", "event", "cluster", "result"]
    assert lines(stream)[0]["timestamp"].endswith("Z")


def test_a_stream_that_is_not_a_terminal_gets_json():
    stream = io.StringIO()
    open_log(stream).info("watch started")
    assert lines(stream)[0]["event"] == "watch started"


def test_the_console_form_is_one_plain_line():
    stream = io.StringIO()
    open_log(stream, form="console").info("pass ended", cluster="edge", result="applied")
    (line,) = stream.getvalue().splitlines()
    assert "pass ended" in line
    assert "cluster=edge" in line
    assert "\x1b" not in line


def test_secrets_are_masked_by_type_by_value_and_in_urls():
    for form in ("json", "console"):
        stream = io.StringIO()
        log = open_log(stream, form=form, secrets=["hunter2", ""])
        log.warning(
            "with hunter2",
            value={"deep": [Secret("typed")], "text": "token=hunter2"},
            source="https://me:pa55@example.com/fleet.git",
            message=("hunter2", 7),
        )
        text = stream.getvalue()
        for hidden in ("hunter2", "typed", "pa55", "me:"):
            assert hidden not in text, form
        assert "https://example.com/fleet.git" in text


def test_libraries_logs_come_in_the_same_form_without_a_traceback():
    stream = io.StringIO()
    library = logging.getLogger("a.library.of.the.test")
    library.propagate = False
    bridge = LibraryLogBridge(open_log(stream, form="json"))
    library.addHandler(bridge)
    try:
        library.info("not shown")
        try:
            raise ValueError("out of range")
        except ValueError:
            library.exception("it %s", "failed")
    finally:
        library.removeHandler(bridge)
    (line,) = lines(stream)
    assert (line["event"], line["library"], line["level"]) == ("it failed", "a.library.of.the.test", "error")
    assert line["error"] == "ValueError: out of range"
    assert "Traceback" not in stream.getvalue()


def test_a_value_that_cannot_be_rendered_costs_only_its_own_line():
    deep = []
    for _ in range(5000):
        deep = [deep]

    class Rude:
        def __str__(self):
            raise RuntimeError("no words")

    stream = io.StringIO()
    log = open_log(stream, form="json")
    log.warning("deep", value=deep)
    log.warning("rude", value=Rude())
    log.info("after")
    first, second, last = lines(stream)
    assert first["value"] == [[[[[[[[[["…"]]]]]]]]]]
    assert second["event"].startswith("cannot render a log line")
    assert (first["level"], last["event"]) == ("warning", "after")


def test_long_texts_and_lists_are_shortened_and_say_so():
    stream = io.StringIO()
    open_log(stream, form="json").info("x", message="a" * 10_000_000, names=["n"] * 60_000)
    (line,) = lines(stream)
    assert line["message"].endswith("(9,992,000 more characters)")
    assert line["names"][-1] == "… (59,900 more)"
    assert len(stream.getvalue()) < 20_000


def test_escape_sequences_do_not_reach_the_terminal():
    stream = io.StringIO()
    open_log(stream, form="console").info("x", message="a\x1b[2J\nfake line\u202e", names=["\x9b31m"])
    assert stream.getvalue().count("\n") == 1
    assert not {"\x1b", "\x9b", "\u202e"} & set(stream.getvalue())
    assert "\\x1b[2J" in stream.getvalue()


STEERING = [
    *map(chr, [*range(0x20), *range(0x7F, 0xA0)]),
    *"\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\u061c\u200b\ud800",
]
"""Controls, line separators, marks of direction, invisible characters, half a character."""


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("place", ["event", "value", "list", "deep", "key", "deep key"])
def test_no_control_character_reaches_the_log(form, place):
    stream = io.StringIO()
    text = f"before{''.join(STEERING)}after"
    match place:
        case "event":
            open_log(stream, form=form).warning(text)
        case "key":
            open_log(stream, form=form).warning("x", **{text: 1})
        case _:
            values = {"value": text, "list": [text], "deep": {"a": [{"b": text}]}, "deep key": {text: 1}}
            open_log(stream, form=form).warning("x", logged=values[place])
    (line,) = stream.getvalue().split("\n")[:-1]
    assert not set(STEERING) & set(line)
    assert "before" in line
    assert "after" in line


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize(
    "value",
    [
        "a" * 10_000_000,
        ["n" * 1000] * 60_000,
        {f"k{number}": "v" for number in range(60_000)},
        [[["n" * 50] * 1000] * 1000] * 1000,
        nested(500),
        10**5000,
        {"k" * 1_000_000: 1},
    ],
    ids=["text", "list", "mapping", "deep lists", "nested lists", "number", "key"],
)
def test_a_line_is_bounded_for_every_kind_of_value(form, value):
    stream = io.StringIO()
    open_log(stream, form=form).warning("x", logged=value)
    assert len(stream.getvalue()) < 200_000
    assert stream.getvalue().count("\n") == 1


def test_a_library_that_repeats_a_message_does_not_fill_the_log():
    stream = io.StringIO()
    bridge = LibraryLogBridge(open_log(stream, form="json"))
    for number in range(1000):
        bridge.handle(
            logging.makeLogRecord({"name": "asyncio", "levelno": 40, "msg": "no %d", "args": (number,)})
        )
    bridge.handle(logging.makeLogRecord({"name": "asyncio", "levelno": 40, "msg": "bad %d", "args": ("x",)}))
    logged = lines(stream)
    assert len(logged) == BURST + 1
    assert logged[-1]["event"] == "cannot read a library's log record"


def test_lines_that_were_not_logged_are_counted_in_the_next_period():
    now = [0.0]
    throttle = Throttle(lambda: now[0], burst=2, period=60)
    assert [throttle.admit("a") for _ in range(5)] == [{}, {}, None, None, None]
    assert throttle.admit("b") == {}
    now[0] = 61
    assert throttle.admit("a") == {"not_logged": 3}
    assert throttle.admit("a") == {}
    now[0] = 200
    assert throttle.admit("a") == {}
