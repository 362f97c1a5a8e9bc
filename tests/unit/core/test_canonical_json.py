"""Plain values as bytes, also those that UTF-8 or 64 bits cannot hold."""

import json

from reconciler.core.canonical import encode_canonical, write_json


def test_lone_surrogates_are_written_as_json_escapes_them():
    value = {"a": "\ud800", "b": 2**70}
    assert json.loads(encode_canonical(value)) == value
    assert json.loads(write_json(value)) == value
