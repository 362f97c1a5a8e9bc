"""The files of live nodes as one template: it gives each node its file again, and holds no secret."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gocluster import desired, entry

from reconciler.drivers.gocluster.adopt_file import UnfitFiles, adopt_files, find_address, recover_values
from reconciler.drivers.gocluster.desired_state import make_scope
from reconciler.drivers.gocluster.schema import GoCluster
from reconciler.drivers.gocluster.template import check_template, read_template, render_template
from reconciler.file_delivery.content import reveal_parts

MEMBERS = {f"node-{number}": f"10.0.0.{number}:9654" for number in range(1, 4)}
SECRET = "shared-by-all-nodes"


def adopt(form, members=MEMBERS):
    """The files that a form gives, and what is made of them."""
    files = {}
    for name, addr in members.items():
        peers = [{"name": one, "addr": other} for one, other in members.items() if one != name]
        host, _, port = addr.rpartition(":")
        values = {"NAME": name, "ADDR": addr, "HOST": host, "PORT": port, "PEERS": json.dumps(peers)}
        text = form
        for key, value in values.items():
            text = text.replace(key, value)
        files[name] = text.encode()
    return files, adopt_files(members, files)


def render(found, members=MEMBERS):
    """Each node's file by the template."""
    own = GoCluster.model_validate(
        {
            "name": "c",
            "kind": "gocluster",
            "config": {"template": "t", "file": "f", "values": "v.json"},
            "nodes": [{"name": name, "addr": addr} for name, addr in members.items()],
            **found.entry,
        }
    )
    template, files = read_template("t", found.template), {}
    assert template.problems == ()
    for node in own.nodes:
        scope = make_scope(own, node, found.values.get(node.name, {}))
        assert list(check_template(template, scope)) == []
        files[node.name] = reveal_parts(render_template(template, scope)).encode()
    return files


FORMS = {
    "JSON": '{"name": "NAME", "peers": PEERS, "authKey": "shared-by-all-nodes", "tls": true}',
    "JSON without blanks": '{"name":"NAME","listen":"ADDR","peers":PEERS,"authKey":"shared-by-all-nodes"}',
    "lines": "name: NAME\nlisten: ADDR\nsecret: shared-by-all-nodes\npeers: PEERS\ntls: false\n",
    "TOML": "[cluster]\nname = 'NAME'\nhost = \"HOST\"\nport = PORT\nauth_key = 'shared-by-all-nodes'\n",
    "CRLF": "name: NAME\r\nlisten: ADDR\r\n",
    "no end of line": "NAME",
    "braces": "{{x}} {{{NAME}}} {{{{ {NAME",
    "settings": '{"PingInterval": "6s", "read_timeout": 12000000000, "name": "NAME"}',
    "paths": "log: /var/log/NAME/NAME.log # of NAME\nurl: https://NAME.example.com:PORT/\n",
    "escapes": '{"authKey": "shared\\u002dby-all-nodes", "name": "NAME", "password": "a\\"b-c-d-e-f"}',
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_template_gives_each_file_again_and_holds_no_secret(form):
    files, found = adopt(form)
    assert render(found) == files
    assert SECRET not in found.template
    assert "node-1" not in found.template
    assert SECRET not in repr(found)


def test_ports_and_names_of_one_machine_are_placeholders():
    members = {f"node-{number}": f"127.0.0.1:{9650 + number}" for number in range(1, 4)}
    files, found = adopt("NAME listens at PORT of HOST\n", members)
    assert found.template == "{{text node.name}} listens at {{text node.port}} of 127.0.0.1\n"
    assert render(found, members) == files


def test_peers_in_another_form_become_values_and_that_is_said():
    rest = {name: [one for one in MEMBERS if one != name] for name in MEMBERS}
    files = {
        name: "".join(f"[[peer]]\nname = '{one}'\naddr = '{MEMBERS[one]}'\n" for one in others).encode()
        for name, others in rest.items()
    }
    found = adopt_files(MEMBERS, files)
    assert render(found) == files
    assert any("no placeholder has" in note for note in found.notes)


def test_another_number_of_values_is_no_template():
    files, _ = adopt("a: NAME\n")
    with pytest.raises(UnfitFiles, match="more than single values"):
        adopt_files(MEMBERS, {**files, "node-2": files["node-2"] + b"b: 1\n"})


PIECES = st.sampled_from(
    [
        *(
            "NAME",
            "ADDR",
            "HOST",
            "PORT",
            "PEERS",
            '"NAME"',
            "{",
            "{{",
            "}",
            "}}",
            '"',
            "'",
            ":",
            "=",
            " ",
            "\n",
        ),
        *("authKey", "tls", "ping_interval", "true", "6s", "5000000000", "x", "-", ".", "\\", "é", "#", ","),
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=300, deadline=None)
def test_whatever_stands_in_a_file_comes_back_or_is_refused(form):
    try:
        files, found = adopt(form)
    except UnfitFiles:
        return
    assert render(found) == files


def test_the_address_of_the_only_api_is_told_by_the_files_of_the_others():
    guess = {**MEMBERS, "node-1": "127.0.0.1:9654"}
    files, _ = adopt("listen: ADDR\npeers: PEERS\nat: 12:30\n")
    assert find_address("node-1", guess, files) == "10.0.0.1:9654"
    assert find_address("node-1", guess, {"node-2": b"x", "node-3": b"x"}) == ""
    assert find_address("node-1", {"node-1": "127.0.0.1:9654"}, {"node-1": b"nothing"}) == ""


def recover(text, **more):
    wanted = desired(entry(1), template="a={{text values.a}};{{values.secret}} {{values.b.c}}\n", **more)
    template = read_template("t", "a={{text values.a}};{{values.secret}} {{values.b.c}}\n")
    scope = make_scope(wanted.entry, wanted.entry.nodes[0], {"a": "x", "secret": "s", "b": {"c": [1]}})
    return recover_values(template, scope, text)


VALUES = {"a": "x", "b": {"c": [1]}}


def test_values_are_found_where_the_template_has_them():
    found = recover('a=y z;"other" {"k": 2}\n', values=VALUES)
    assert found == {"a": "y z", "secret": "other", "b": {"c": {"k": 2}}}


@pytest.mark.parametrize(
    "text",
    ["", "a=y", 'a=y;"s" [1]', 'b=y;"s" [1]\n', "a=y;s [1]\n", 'a=y\n;"s" [1]\n', "a=;" + "[" * 100_000],
)
def test_a_text_that_the_template_does_not_give_has_no_values(text):
    assert recover(text, values=VALUES) is None
