"""sora.conf is read with positions, refused with messages, and changed without losing a comment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers.sora.conf import format_scalar, parse_conf, parse_scalar, read_conf_model
from reconciler.errors import InputError

TEXT = b"""# the first node
cluster = true
node_name = node01@node01.example.com
external_signaling_url = wss://node1.example.com/signaling
external_api_url = https://node1.example.com/api

cluster_affinity_threshold = 20
websocket_ping_interval = 30 s
"""


def problems(data: bytes):
    with pytest.raises(InputError) as caught:
        read_conf_model(parse_conf("sora.conf", data))
    return caught.value.problems


def test_values_have_their_types_and_defaults():
    conf = read_conf_model(parse_conf("sora.conf", TEXT))
    assert conf.cluster is True
    assert conf.cluster_affinity_threshold == 20
    assert conf.cluster_relay is True
    assert (conf.cluster_listen_min_port, conf.cluster_listen_max_port, conf.api_port) == (49010, 49020, 3000)
    assert conf.model_extra == {"websocket_ping_interval": "30 s"}


def test_a_change_keeps_comments_order_and_unknown_keys():
    conf = parse_conf("sora.conf", TEXT)
    text = conf.changed({"cluster_affinity_threshold": 5, "cluster_temporary_node": True})
    assert text == TEXT.decode().replace("= 20", "= 5") + "cluster_temporary_node = true\n"
    assert conf.changed(conf.value) == TEXT.decode()


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "words"),
    [
        (b"node01@node01.example.com", b"node01@node01", 3, 13, 'such as `"node01@node01.example.com"`'),
        (b"cluster = true", b"cluster = yes", 2, 11, "must be `true` or `false`"),
        (b"= 20", b"= 0", 7, 30, "must be at least 1"),
        (b"# the first node", b"the first node", 1, 1, "not `key = value`"),
        (b"websocket_ping_interval = 30 s", b"cluster = true", 8, 1, "duplicate key"),
    ],
)
def test_an_error_has_its_position(old, new, line, column, words):
    (problem,) = problems(TEXT.replace(old, new))
    assert (problem.position.line, problem.position.column) == (line, column)
    assert words in f"{problem.message}; {problem.remedy}"


def test_a_clustered_node_needs_its_four_keys():
    (problem,) = problems(b"cluster = true\n")
    assert "node_name, external_signaling_url, external_api_url" in problem.message


@given(
    st.booleans() | st.integers(-(10**17), 10**17) | st.from_regex(r"[!-~]+( [!-~]+){0,2}", fullmatch=True)
)
def test_printing_is_the_inverse_of_reading(value):
    read = parse_scalar(format_scalar(value))
    assert format_scalar(read) == format_scalar(value)
    if not isinstance(value, str):
        assert read == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_a_message(data):
    try:
        conf = parse_conf("sora.conf", data)
    except InputError as error:
        assert error.problems  # noqa: PT017
    else:
        again = parse_conf("sora.conf", conf.changed(conf.value).encode())
        assert again.value == conf.value
