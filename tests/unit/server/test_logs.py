"""Log lines: complete, parseable, and never with a secret in them."""

import io
import json
import logging

from reconciler.core.secret import Secret
from reconciler.server.logs import Bridge, open_log


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_begin_with_time_level_and_event():
    stream = io.StringIO()
    open_log(stream, form="json").bind(cluster="edge").info("pass ended", result="converged")
    assert list(lines(stream)[0]) == ["timestamp", "level", "event", "cluster", "result"]
    assert lines(stream)[0]["timestamp"].endswith("Z")


def test_what_is_no_terminal_gets_json():
    stream = io.StringIO()
    open_log(stream).info("watch began")
    assert lines(stream)[0]["event"] == "watch began"


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
            "told hunter2",
            value={"deep": [Secret("typed")], "text": "token=hunter2"},
            source="https://me:pa55@example.com/fleet.git",
            words=("hunter2", 7),
        )
        text = stream.getvalue()
        for hidden in ("hunter2", "typed", "pa55", "me:"):
            assert hidden not in text, form
        assert "https://example.com/fleet.git" in text


def test_libraries_logs_come_in_the_same_form_without_a_traceback():
    stream = io.StringIO()
    library = logging.getLogger("a.library.of.the.test")
    library.propagate = False
    bridge = Bridge(open_log(stream, form="json"))
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
