"""Whatever is laid over a document, every leaf stands in the file and place it is said to come from."""

from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from reconciler.desired.json_patch import InvalidPatch, apply_json_patch
from reconciler.desired.merge_patch import TracedValue, ValueOrigin, apply_merge_patch
from reconciler.diagnostic import Position
from reconciler.text.json_pointer import make_pointer, split_pointer

KEYS = st.sampled_from(["a", "b", "c/d", "~e", "0"])
LEAVES = st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["x", "y"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)
PATHS = st.lists(KEYS | st.sampled_from(["1", "2", "-"]), max_size=3).map(make_pointer)
OPERATIONS = st.one_of(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "replace", "test"]), "path": PATHS, "value": VALUES}
    ),
    st.fixed_dictionaries({"op": st.just("remove"), "path": PATHS}),
    st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": PATHS, "from": PATHS}),
)


class Told:
    """A document whose positions are pointers."""

    def __init__(self, name, value):
        self.name = name
        self.value = value

    def position(self, place, *, key=False):
        return Position(f"{self.name}#{place}")


def at(value, place):
    for part in split_pointer(place):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def leaves(value, path=()):
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield make_pointer(path), value


@given(OBJECTS, st.lists(OBJECTS | st.lists(OPERATIONS, max_size=3), max_size=4))
def test_every_leaf_is_at_its_origin(base, overlays):
    told = {"base": Told("base", base)}
    grown = TracedValue(base, ValueOrigin(told["base"]))
    before = deepcopy((base, overlays))
    for number, overlay in enumerate(overlays):
        document = told[str(number)] = Told(str(number), overlay)
        patch = TracedValue(overlay, ValueOrigin(document))
        try:
            grown = (
                apply_merge_patch(grown, patch)
                if isinstance(overlay, dict)
                else apply_json_patch(grown, patch)
            )
        except InvalidPatch:
            continue
    rendered = grown.named("base")
    assert (base, overlays) == before
    for place, leaf in leaves(rendered.value):
        name, _, source = rendered.position(place).file.partition("#")
        found = at(told[name].value, source)
        assert found == leaf or (leaf in ({}, []) and type(found) is type(leaf))


@given(OBJECTS, OBJECTS)
def test_a_merge_holds_nothing_that_its_patch_took_away_and_merging_again_changes_nothing(base, patch):
    one = apply_merge_patch(
        TracedValue(base, ValueOrigin(Told("b", base))), TracedValue(patch, ValueOrigin(Told("p", patch)))
    )
    two = apply_merge_patch(one, TracedValue(patch, ValueOrigin(Told("p", patch))))
    assert two.value == one.value
    assert {key for key, value in patch.items() if value is None}.isdisjoint(one.value)
