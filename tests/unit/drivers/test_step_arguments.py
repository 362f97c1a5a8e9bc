"""Arguments of steps: each action has its type, whose plain form is what plans and the journal hold."""

import ast
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.driver import FakeDriver, Wish, World, cluster
from support.program_source import all_nodes

from reconciler.core.arguments import Arguments, RawArguments, TypedArguments, read_arguments
from reconciler.core.canonical import encode_canonical
from reconciler.core.observation import Observed, Present
from reconciler.core.secret import MASK
from reconciler.drivers.m2 import arguments as m2
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora import arguments as sora
from reconciler.drivers.sora.membership import Membership
from reconciler.errors import UnreadableArguments

KINDS = [*m2.ACTIONS.values(), *sora.ACTIONS.values()]
NAMES = st.text("abc@.", min_size=1, max_size=4)
BY_ANNOTATION = {
    "str": NAMES,
    "bool": st.booleans(),
    "int": st.integers(0, 9),
    "int | float": st.one_of(st.integers(0, 90), st.floats(0, 90, exclude_min=True)),
    "Any": st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), NAMES, st.just(MASK)),
    "tuple[str, ...]": st.lists(NAMES, max_size=3).map(tuple),
    "tuple[str | None, ...]": st.lists(st.one_of(NAMES, st.none()), max_size=2).map(tuple),
    "Mapping[str, Any]": st.just({}),  # what stands in the plain form in the place of exact values
    "Mapping[str, str]": st.dictionaries(NAMES, NAMES, max_size=2),
    "Mapping[str, tuple[str, ...]]": st.dictionaries(
        NAMES, st.lists(NAMES, max_size=2).map(tuple), max_size=2
    ),
    "Facts": st.dictionaries(NAMES, st.dictionaries(NAMES, NAMES, max_size=2), max_size=2),
    "Membership": st.builds(Membership, st.just(("a",)), st.just(("t",))),
    "InitConfirmation": st.builds(sora.InitConfirmation, NAMES, NAMES, NAMES),
    "StoppedConfirmation": st.one_of(
        st.builds(sora.StoppedConfirmation, NAMES, NAMES), st.just(sora.StoppedConfirmation())
    ),
}


@st.composite
def any_arguments(draw):
    kind = draw(st.sampled_from(KINDS))
    return kind(**{one.name: draw(BY_ANNOTATION[one.type]) for one in fields(kind)})


@given(any_arguments())
def test_what_was_written_down_is_read_as_it_was_and_written_the_same(arguments):
    plain = arguments.plain()
    again = type(arguments).load(plain)
    assert encode_canonical(again.plain()) == encode_canonical(plain)
    assert again == arguments == RawArguments(plain)
    for one in fields(arguments):
        assert type(getattr(again, one.name)) is type(getattr(arguments, one.name))


@given(any_arguments())
def test_what_the_program_reads_is_the_same_typed_and_raw(arguments):
    raw = RawArguments(arguments.plain())
    assert raw.payload_digest == arguments.payload_digest
    assert raw.named_nodes == arguments.named_nodes
    assert raw.used_confirmations == arguments.used_confirmations
    assert raw.facts_of_intent == arguments.facts_of_intent
    assert raw.assumes_nodes_lost == arguments.assumes_nodes_lost


@pytest.mark.parametrize("kind", KINDS)
def test_each_action_has_a_frozen_type_of_its_own_version(kind):
    assert kind.schema_version == 1
    assert kind.__dataclass_params__.frozen
    assert issubclass(kind, TypedArguments)


def test_every_product_has_a_table_of_its_actions():
    assert [driver for driver in DRIVERS.values() if not driver.actions] == []


def step():
    driver = FakeDriver(World({"a": "old"}))
    desired, seen = Wish(cluster("hall", {"a": "new"})), Observed({"a": Present("old")})
    (only,) = driver.plan(desired, seen).steps
    return driver, only


def test_a_step_that_was_written_down_gets_its_type_back():
    driver, only = step()
    written = replace(only, arguments=RawArguments(only.plain()["arguments"]))
    assert type(driver.load_step(written).arguments) is type(only.arguments)
    assert driver.load_step(only) == only == written


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": 2}, "they have version 2, but this program reads version 1"),
        ({"want": ["new"]}, "want is not as it was written"),
        ({"other": 1}, "other is not as it was written"),
    ],
)
def test_arguments_of_another_form_are_refused_with_a_sentence(change, why):
    driver, only = step()
    written = replace(only, arguments=RawArguments(only.arguments.plain() | change))
    with pytest.raises(UnreadableArguments) as caught:
        driver.load_step(written)
    assert caught.value.message == f"the arguments of the step are not readable: {why}"


def test_an_action_that_a_product_does_not_have_is_refused_with_a_sentence():
    driver, only = step()
    with pytest.raises(UnreadableArguments, match="fake has no step 'fly'"):
        driver.load_step(replace(only, action="fly"))


def test_a_later_version_says_so_in_its_plain_form():
    @dataclass(frozen=True, slots=True, eq=False)
    class Later(TypedArguments):
        schema_version: ClassVar[int] = 2
        name: str

    assert Later("x").plain() == {"schema": 2, "name": "x"}
    assert read_arguments(RawArguments({"schema": 2, "name": "x"}), Later) == Later("x")
    with pytest.raises(UnreadableArguments, match="have version 1, but this program reads version 2"):
        Later.load({"name": "x"})


def test_arguments_do_not_change():
    with pytest.raises(FrozenInstanceError):
        step()[1].arguments.want = "x"


def test_outside_the_products_arguments_answer_only_the_questions_that_all_have_in_common():
    nodes = list(all_nodes(ast.Attribute))
    common = {id(node.value) for _, node in nodes if node.attr in vars(Arguments).keys() - {"plain"}}
    readers = {
        file
        for file, node in nodes
        if id(node) not in common
        and not file.startswith(("drivers/", "file_delivery/", "core/plan.py", "ports/driver.py"))
        and node.attr == "arguments"
        and "step" in ast.unparse(node.value).rpartition(".")[2]
    }
    assert readers == set()
