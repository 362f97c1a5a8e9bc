"""What `--only` and `--skip` select: names, kinds, labels and patterns."""

import pytest
from support.driver import FakeNode, cluster

from reconciler.core.selection import Selection, format_selection, load_selection, select_nodes
from reconciler.errors import UsageError

SEOUL = {"site": "seoul"}
ENTRIES = [
    cluster(
        "edge-a",
        {
            "a1": FakeNode(name="a1", value="x", domain="rack-1", labels={"canary": "yes"}),
            "a2": FakeNode(name="a2", value="x", domain="rack-2", labels={"site": "busan"}),
        },
        labels=SEOUL,
    ),
    cluster("edge-b", {"b1": "x", "b2": "x"}, labels=SEOUL),
    cluster("lab", {"l1": "x", "edge-c": "x"}),
]


def select(*only, skip=(), **more):
    found = select_nodes(Selection(only, tuple(skip)), ENTRIES, **more)
    return sorted(f"{name}/{node}" for name, nodes in found.items() for node in nodes)


ALL = select()


@pytest.mark.parametrize(
    ("only", "skip", "selected"),
    [
        ((), (), "edge-a/a1 edge-a/a2 edge-b/b1 edge-b/b2 lab/edge-c lab/l1"),
        (("edge-a",), (), "edge-a/a1 edge-a/a2"),
        (("a1",), (), "edge-a/a1"),
        (("edge-a/a1", "lab"), (), "edge-a/a1 lab/edge-c lab/l1"),
        (("edge-*",), (), "edge-a/a1 edge-a/a2 edge-b/b1 edge-b/b2"),
        (("*/edge-*",), (), "lab/edge-c"),
        (("?1",), (), "edge-a/a1 edge-b/b1 lab/l1"),
        (("edge-*/*[2-9]",), (), "edge-a/a2 edge-b/b2"),
        (("kind:fake",), ("lab",), "edge-a/a1 edge-a/a2 edge-b/b1 edge-b/b2"),
        (("site=seoul",), (), "edge-a/a1 edge-b/b1 edge-b/b2"),
        (("site=*",), ("canary=yes",), "edge-a/a2 edge-b/b1 edge-b/b2"),
        (("domain=rack-1",), (), "edge-a/a1"),
        ((), ("edge-a", "b1"), "edge-b/b2 lab/edge-c lab/l1"),
        (("edge-a",), ("a1",), "edge-a/a2"),
    ],
)
def test_names_kinds_labels_and_patterns_select(only, skip, selected):
    assert " ".join(select(*only, skip=skip)) == selected


@pytest.mark.parametrize(
    ("only", "skip", "words", "remedy"),
    [
        (
            ("edge-aa",),
            (),
            "--only edge-aa: no cluster and no node is named `edge-aa`",
            "similar names: edge-a",
        ),
        ((), ("zzz",), "--skip zzz: no cluster and no node", "the clusters are: edge-a, edge-b, lab"),
        (("kind:sora",), (), "--only kind:sora: no cluster is of this kind", "the kinds of the fleet: fake"),
        (("site=paris",), (), "--only site=paris: no node has this label", "site=seoul"),
        (("edge-a",), ("edge-*",), "--only edge-a --skip edge-*: no cluster and no node is left", ""),
        (("lab/a1",), (), "no cluster and no node is named `lab/a1`", "a1"),
    ],
)
def test_what_matches_nothing_is_an_error_with_what_there_is(only, skip, words, remedy):
    with pytest.raises(UsageError) as caught:
        select(*only, skip=skip)
    assert words in caught.value.message
    assert remedy in caught.value.remedy


def test_a_selection_goes_to_another_process_as_one_text():
    selection = Selection(("a=b", "c d"), ("e",))
    assert load_selection(format_selection(selection)) == selection
    assert load_selection("") == load_selection(format_selection(Selection())) == Selection()
