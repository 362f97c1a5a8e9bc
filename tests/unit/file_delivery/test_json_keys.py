"""Keys of a config.json: ours are set, the rest stays as people wrote it, and nothing secret is shown."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.secret import MASK, Secret
from reconciler.file_delivery.content import UnfitFile
from reconciler.file_delivery.json_keys import JsonKeys, list_json_keys

SEED = b"""{
"port": 3000,
"dataSource": {"username": "mstr_collab","password": "xxx"},
"logging": true,
"authorizationServerUrl":"<web_load_balancer_url>/api",
"scaling": "horizontal","redisServerUrl":
"<redis_server_url>"
}
"""


def test_only_our_values_change_in_the_text():
    keys = JsonKeys({"port": 3001, "dataSource": {"password": "yyy"}, "redisServerUrl": "redis://r:6379"})
    expected = SEED.replace(b"3000", b"3001").replace(b"xxx", b"yyy")
    expected = expected.replace(b"<redis_server_url>", b"redis://r:6379")
    assert keys.render(SEED) == expected
    assert keys.render(expected) == expected


def test_new_keys_come_after_the_others_in_the_layout_of_the_file():
    text = b'{\r\n\t"b": 1,\r\n\t"a": {"x": [1,  2]}\r\n}'
    assert JsonKeys({"enableTls": True}).render(text) == (
        b'{\r\n\t"b": 1,\r\n\t"a": {"x": [1,  2]},\r\n\t"enableTls": true\r\n}'
    )


def test_a_file_that_is_not_there_or_empty_is_made():
    for current in (None, b"", b" \n"):
        rendered = JsonKeys({"port": 3000, "dataSource": {"host": "h"}}).render(current)
        assert json.loads(rendered) == {"port": 3000, "dataSource": {"host": "h"}}
        assert rendered.endswith(b"}\n")


def test_names_are_case_sensitive():
    assert json.loads(JsonKeys({"port": 1}).render(b'{"Port": 2}')) == {"Port": 2, "port": 1}


@pytest.mark.parametrize(("found", "wanted"), [("1", True), ("true", 1), ("1.0", 1), ("null", False)])
def test_values_that_only_python_takes_for_equal_are_changed(found, wanted):
    rendered = JsonKeys({"a": wanted}).render(f'{{"a": {found}}}'.encode())
    assert rendered == f'{{"a": {json.dumps(wanted)}}}'.encode()


def test_a_key_that_must_not_be_there_is_removed_and_shown():
    keys = JsonKeys({"port": 3000}, removed=(("old",), ("dataSource", "password"), ("none", "x")))
    text = b'{"port": 3000, "old": "gone", "dataSource": {"password": "geheim", "host": "h"}}'
    rendered = keys.render(text)
    assert json.loads(rendered) == {"port": 3000, "dataSource": {"host": "h"}}
    assert keys.render(rendered) == rendered
    shown = repr(keys.find_changes(text, "config"))
    assert "/config/old" in shown
    assert "geheim" not in shown
    assert keys.find_changes(rendered, "config") == ()
    assert keys.redact(text) != keys.redact(rendered)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            SEED.replace(b'>"\n}', b'>",\n.......\n}'),
            r"line 8, column 1.*`\.\.\.\.\.\.\.`.*write what the dots",
        ),
        (b'{"a": 1, "a": 2}', "line 1, column 10: duplicate key `a`"),
        (b'{"a": 1 // x\n}', "line 1, column 9: JSON does not allow comments"),
        (b'\xef\xbb\xbf{"a": 1}', "line 1, column 1: the file starts with a byte order mark"),
        (b'{"a": 1,}', "line 1, column 8"),
        (b'{"a": NaN}', "line 1, column 7"),
        (b"[1]", "not one JSON object"),
        (b'{"a": "\xff"}', "line 1, column 8"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested more than 200 levels"),
        (b"[" * 100_000, "nested more than|not read"),
        (b'{"a": "' + b"x" * 2_000_000 + b'"}', "bytes, more than"),
        (b"[" + b"1," * 30_000 + b"1]", "values"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_position_and_never_written_over(text, words):
    keys, begin = JsonKeys({"port": 1}), time.perf_counter()
    for call in (keys.render, keys.redact, lambda content: keys.find_changes(content, "config")):
        with pytest.raises(UnfitFile, match=words):
            call(text)
    assert time.perf_counter() - begin < 3


def test_no_secret_is_shown_in_a_difference():
    keys = JsonKeys(
        {
            "dataSource": {"password": Secret("neu1", "${env:A}"), "host": "h"},
            "redisServerUrl": Secret("redis://:neu2@r:6379", "${env:B}"),
            "passphrase": "neu3",
            "trustedCerts": ["a", Secret("neu4", "${env:C}")],
        }
    )
    text = json.dumps(
        {
            "dataSource": {"password": "alt1", "host": "g"},
            "redisServerUrl": "redis://:alt2@r:6379",
            "passphrase": "alt3",
            "trustedCerts": ["b", "alt4"],
            "other": "alt5",
        }
    ).encode()
    changes = keys.find_changes(text, "config")
    shown = f"{changes!r} {[str(change) for change in changes]} {keys.redact(text)!r} {keys!r}"
    assert not [word for number in range(1, 6) for word in (f"neu{number}", f"alt{number}") if word in shown]
    assert keys.redact(text)["dataSource"] == {"password": MASK, "host": "g"}
    rendered = json.loads(keys.render(text))
    assert rendered["redisServerUrl"] == "redis://:neu2@r:6379"
    assert rendered["other"] == "alt5"


def test_a_password_in_a_url_of_the_file_is_masked_where_none_is_desired():
    keys = JsonKeys({"redisServerUrl": "redis://r:6379"})
    text = b'{"redisServerUrl": "redis://:alt2@r:6379"}'
    assert "alt2" not in f"{keys.find_changes(text, 'config')!r} {keys.redact(text)!r}"


def test_a_secret_that_is_not_known_here_is_left_as_it_is():
    keys = JsonKeys({"port": 1, "dataSource": {"password": Secret("", "${env:A}", missing="not set")}})
    text = b'{"port": 1, "dataSource": {"password": "xxx"}}'
    assert keys.render(text) == text
    assert keys.find_changes(text, "config") == ()
    assert json.loads(keys.render(text.replace(b"1", b"2"))) == json.loads(text)


NAMES = st.sampled_from(["port", "Port", "a", "ä", 'q"', "b\\", ""])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.text(max_size=8), st.just(1.5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
INDENTS = st.sampled_from([None, 0, 1, 2, 4, "\t"])


def merge(found, wanted):
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return wanted
    return found | {key: merge(found.get(key), value) for key, value in wanted.items()}


@given(OBJECTS, OBJECTS, INDENTS, st.booleans())
def test_the_result_is_the_merged_object_and_a_second_time_changes_nothing(found, wanted, indent, ascii_only):
    text = json.dumps(found, indent=indent, ensure_ascii=ascii_only).encode()
    keys = JsonKeys(wanted)
    rendered = keys.render(text)
    assert json.dumps(json.loads(rendered)) == json.dumps(merge(found, wanted))
    assert keys.render(rendered) == rendered
    assert keys.find_changes(rendered, "config") == ()
    if not keys.find_changes(text, "config"):
        assert rendered == text


@given(st.text(max_size=60).map(str.encode) | st.binary(max_size=60))
def test_whatever_the_file_has_it_is_read_or_refused(text):
    keys = JsonKeys({"port": 1})
    try:
        rendered = keys.render(text)
    except UnfitFile:
        return
    assert json.loads(rendered)["port"] == 1


def test_an_object_leaves_once_nothing_else_is_left_in_it():
    keys = JsonKeys({}, removed=(("tls",), ("tls", "key"), ("tls", "deep"), ("tls", "deep", "x"), ("list",)))
    assert json.loads(keys.render(b'{"tls": {"key": 1, "deep": {"x": 1}}, "list": [1]}')) == {}
    kept = b'{"tls": {"key": 1, "deep": {"x": 1, "theirs": 2}}}'
    assert json.loads(keys.render(kept)) == {"tls": {"deep": {"theirs": 2}}}
    assert keys.render(keys.render(kept)) == keys.render(kept)
    assert keys.render(b'{"tls": 7}') == b"{}"


def test_all_keys_of_an_object_are_listed():
    listed = list_json_keys({"a": {"b": [{"c": 1}], "d e/f": 2}, "g": {}})
    assert list(listed) == ["/a", "/a/b", "/a/d e~1f", "/g"]
