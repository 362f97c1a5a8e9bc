"""The file of a node of a Go cluster: made of a template that runs nothing, and of the members."""

import json

import pytest
from pydantic import ValidationError
from support.gocluster import TEMPLATE, cluster_input, content, desired, entry, model

from reconciler.core.secret import Secret
from reconciler.drivers.gocluster.desired_state import find_changed_authentication, make_files
from reconciler.drivers.gocluster.schema import GoCluster
from reconciler.drivers.gocluster.template import (
    LARGEST_TEMPLATE,
    UnfitValue,
    check_template,
    read_template,
    render_template,
)
from reconciler.file_delivery.content import reveal_parts

SCOPE = {"a": {"b": 'x"y', "n": 5, "t": True, "none": None}, "peers": ["p", "q"], "lines": "a\nb"}


def rendered(text, scope=SCOPE):
    template = read_template("t", text)
    assert [*template.problems, *check_template(template, scope)] == []
    return reveal_parts(render_template(template, scope))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{a.b}}", '"x\\"y"'),
        ("{{ text a.b }}", 'x"y'),
        ("{{text a.n}} {{a.n}} {{a.t}} {{text a.t}} {{a.none}}", "5 5 true true null"),
        ("{{peers}}", '["p", "q"]'),
        ("{{{{a.b}}}}", "{{a.b}}}}"),
        ("{a} }} ${HOME}", "{a} }} ${HOME}"),
        ("{{{a.n}}} {{{{{a.n}} {{{{{{a.n}}", "{5} {{{a.n}} {{5"),
        ("{{lines}}", '"a\\nb"'),
        ("", ""),
    ],
)
def test_placeholders_are_replaced_and_nothing_else(text, result):
    assert rendered(text) == result


@pytest.mark.parametrize(
    "text",
    [
        "{{a.b | upper}}",
        "{{a.b()}}",
        "{{ config.__class__ }}{{",
        "{{}}",
        "{{ range .Peers }}",
        "{{a.b",
        "{{a\n.b}}",
        "{{a..b}}",
        "{% if a %}{{#x}}",
        "{{" * 3,
    ],
)
def test_what_looks_like_a_language_is_refused_with_its_position(text):
    problems = read_template("t", f"\n  {text}").problems
    assert problems[0].code == "bad-template"
    assert problems[0].position.line == 2


def test_a_name_is_looked_up_in_data_and_never_in_objects():
    for name in ("a.__class__", "a.keys", "peers.0", "a.b.c", "__builtins__", "b"):
        template = read_template("t", f"12\n  {{{{{name}}}}}")
        (problem,) = check_template(template, SCOPE)
        assert (problem.code, problem.position.line, problem.position.column) == ("unknown-placeholder", 2, 3)


def test_a_near_name_is_suggested():
    (problem,) = check_template(read_template("t", "{{peer}}"), SCOPE)
    assert "`peers`" in problem.remedy


@pytest.mark.parametrize("name", ["peers", "a", "lines"])
def test_only_one_line_stands_as_plain_text(name):
    (problem,) = check_template(read_template("t", f"{{{{text {name}}}}}"), SCOPE)
    assert problem.code == "unfit-placeholder"


def test_a_reference_in_the_template_is_refused():
    (problem,) = read_template("t", 'key = "${env:SECRET}"').problems
    assert "values" in problem.remedy


def test_sizes_are_bounded():
    assert read_template("t", "x" * (LARGEST_TEMPLATE + 1)).problems
    assert read_template("t", "{{a}}" * 1001).problems
    template = read_template("t", "{{big}}" * 1000)
    with pytest.raises(UnfitValue):
        render_template(template, {"big": "x" * 10_000})


def test_a_secret_is_a_part_of_its_own():
    scope = {"v": {"k": Secret('p"w', "${env:K}"), "other": 1}}
    parts = render_template(read_template("t", "{{v}} {{text v.k}}"), scope)
    assert [str(part) for part in parts] == ['{"k": ', "${env:K}", ', "other": 1} ', "${env:K}"]
    assert reveal_parts(parts) == '{"k": "p\\"w", "other": 1} p"w'


def test_each_peer_list_has_all_others_and_never_itself():
    made = desired(entry(4))
    lists = {node: json.loads(content(made, node))["peers"] for node in made.files}
    assert len(lists) == 4
    for node, peers in lists.items():
        assert {peer["name"] for peer in peers} == lists.keys() - {node}
        for peer in peers:
            assert node in {one["name"] for one in lists[peer["name"]]}, "links are symmetrical"


def test_the_whole_scope_can_be_used():
    text = "{{settings_ns.join_delay}} {{text settings.ping_interval}} {{text node.host}} {{node.port}} "
    text += (
        "{{peer_addresses}} {{api_token_duration_ns}} {{channel_buffer_size}} {{log_traffic}} {{api_enabled}}"
    )
    text += " {{cluster.name}} {{values.deep.x}}"
    made = desired(entry(2), template=text, values={"deep": {"x": [1]}})
    assert content(made, "node1").decode() == (
        '500000000 5s 10.0.0.1 9654 {"node2": "10.0.0.2:9654"} 3600000000000 100 false true "game" [1]'
    )


def test_problems_are_told_once_for_all_nodes():
    _, problems = make_files(cluster_input(template="{{text peers}}\n{{wrong}}"))
    assert [(one.code, one.position.file, one.position.line) for one in problems] == [
        ("unfit-placeholder", "app.tmpl", 1),
        ("unknown-placeholder", "app.tmpl", 2),
    ]


def test_values_that_sound_secret_are_masked_also_in_plain_text():
    made = desired(template="{{values.dbPassword}}", values={"dbPassword": "in the clear"})
    assert [str(one) for one in made.files["node1"].content.parts] == ["••••••"]


def test_the_secret_must_be_a_text():
    _, problems = make_files(cluster_input(values={"secret": ""}))
    assert [one.code for one in problems] == ["bad-value"]


@pytest.mark.parametrize(
    ("template", "old", "new"),
    [
        (TEMPLATE, "one-secret", "another-secret"),
        (TEMPLATE, "old", "secret"),
        (TEMPLATE, "node10", "node1"),
        ("authKey={{text values.secret}}\n{{peers}}", "abcdef", "abc"),
        ("{{values}}{{peers}}", "a", "b"),
    ],
)
def test_another_secret_is_seen_in_the_file_itself(template, old, new):
    before, after = desired(template=template, secret=old), desired(template=template, secret=new)
    file = content(before, "node1")
    assert find_changed_authentication(after, "node1", file) == "the secret"
    assert find_changed_authentication(before, "node1", file) == ""


def test_another_peer_or_setting_is_no_change_of_the_secret():
    file = content(desired(entry(3)), "node1")
    larger = desired(entry(4, settings={"ping_interval": "6s"}))
    assert content(larger, "node1") != file
    assert find_changed_authentication(larger, "node1", file) == ""
    assert find_changed_authentication(larger, "node1", None) == ""


def test_tls_on_or_off_is_a_change_of_tls():
    file = content(desired(), "node1")
    assert find_changed_authentication(desired(entry(tls=True)), "node1", file) == "TLS"
    both = desired(entry(tls=True), secret="other-secret")
    assert find_changed_authentication(both, "node1", file) == "the secret and TLS"


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {"join_delay": "5s"}},
        {"settings": {"join_delay": "6s"}},
        {"settings": {"read_timeout": "5s"}},
        {"settings": {"ping_interval": "five"}},
        {"nodes": []},
        {"config": {"template": "../x", "file": "a", "values": "v.txt"}},
        {"config": {"template": "/etc/shadow", "file": "a"}},
        {"overlays": [{"merge": {}}], "config": {"template": "t", "file": "a"}},
        {"nodes": [{"name": "a", "addr": "h"}]},
        {"nodes": [{"name": "a", "addr": "0.0.0.0:1", "api": "http://h"}]},
        {"nodes": [{"name": "a", "addr": "h:1"}]},
        {"nodes": [{"name": "a/b", "addr": "h:1", "api": "http://h"}]},
        {"nodes": [{"name": "a", "addr": "h:1", "api": "http://h/path"}]},
        {"nodes": [{"name": n, "addr": "h:1", "api": "http://h"} for n in "ab"]},
        {"restart": "systemctl restart app"},
    ],
)
def test_the_entry_refuses(changed):
    with pytest.raises(ValidationError):
        GoCluster.model_validate(entry(**changed))


def test_without_observe_no_api_is_needed():
    own = entry(observe=False, nodes=[{"name": "a", "addr": "h:1"}, {"name": "b", "addr": "h:2"}])
    assert GoCluster.model_validate(own).node("a").endpoint() == "h:1"
    assert model().settings.rejoin_seconds == 12.5
