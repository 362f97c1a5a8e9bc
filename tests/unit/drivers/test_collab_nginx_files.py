"""Strange nginx files: our two readers and crossplane read them alike; nginx itself in `tests/components`."""

import crossplane
import pytest
from support.nginx_files import INVALID, UPSTREAM, VALID

from reconciler.drivers.collab.nginx_span import NginxSpan, read_servers
from reconciler.drivers.collab.nginx_text import parse_nginx_file, parse_text
from reconciler.drivers.collab.simulator.loaded_files import InvalidFile
from reconciler.drivers.collab.simulator.nginx_file import parse_nginx, read_nginx_file
from reconciler.file_delivery.content import UnfitFile

OTHERWISE = {
    "an expression with everything": "it drops the brackets of an `if`",
    "a quote before a bracket": "it drops the brackets of an `if`",
    "a nested expression": "it drops the brackets of an `if`",
    "escapes in quotes": "it leaves escapes as they are",
    "a brace within a word": "it takes it for the end of a block",
    "white space that parts no words": "it parts words at any white space of Unicode",
}
"""Files that crossplane reads otherwise than nginx, and in what."""

SPAN = NginxSpan(upstream=UPSTREAM, servers=("192.0.2.1:3000", "192.0.2.3:3000"), marker="m")


def to_tree(block):
    return [(one.words[0], one.words[1:], to_tree(one) if one.body else None) for one in block.children]


def simulated_tree(found):
    return [
        (one.name, one.arguments, None if one.block is None else simulated_tree(one.block)) for one in found
    ]


def crossplane_tree(block):
    return [
        (
            one["directive"],
            tuple(one["args"]),
            crossplane_tree(one["block"]) if "block" in one else None,
        )
        for one in block
        if one["directive"] != "#"
    ]


@pytest.mark.parametrize("name", VALID)
def test_all_readers_read_the_same(name, tmp_path):
    text = VALID[name].encode()
    ours = to_tree(parse_nginx_file(text)[1])
    assert simulated_tree(parse_nginx(text)) == ours
    file = tmp_path / "nginx.conf"
    file.write_bytes(text)
    found = crossplane.parse(str(file), single=True, strict=False, check_ctx=False, check_args=False)
    is_same = found["status"] == "ok" and crossplane_tree(found["config"][0]["parsed"]) == ours
    assert is_same is (name not in OTHERWISE), found["errors"]


@pytest.mark.parametrize("name", VALID)
def test_each_file_gets_the_servers_and_is_read_as_wanted(name):
    rendered = SPAN.render(VALID[name].encode())
    assert SPAN.render(rendered) == rendered
    assert set(read_servers(rendered, UPSTREAM)) == set(SPAN.servers)
    loaded = read_nginx_file(rendered, UPSTREAM)
    assert set(loaded.servers) == set(SPAN.servers)
    assert (loaded.is_sticky, loaded.has_handshake, loaded.has_status) == (True, True, True)


@pytest.mark.parametrize("name", INVALID)
def test_the_simulated_nginx_refuses_what_nginx_refuses(name):
    with pytest.raises(InvalidFile, match=r"^nginx: \[emerg\] "):
        read_nginx_file(INVALID[name].encode(), UPSTREAM)


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("http {\n  content_by_lua_block {\n    if x then y = {1} end -- }\n  }\n}\n", 2, "content_by_lua"),
        ("set_by_lua_block $x { return 1 }", 1, "set_by_lua"),
    ],
)
def test_lua_code_is_named_with_what_to_do(text, line, name):
    with pytest.raises(UnfitFile) as error:
        parse_text(text)
    assert str(error.value) == (
        f"cannot be read at line {line}: the Lua code of `{name}_block` is not read by this program; write "
        f"it into a file of its own, and `{name}_file PATH;` here"
    )


def test_a_large_file_is_named_with_what_to_do():
    with pytest.raises(UnfitFile, match=r"has 262145 bytes.* `include` them"):
        parse_nginx_file(b"#" * (256 * 1024 + 1))
    parse_nginx_file(b"#" * (256 * 1024))
