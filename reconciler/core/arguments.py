"""The arguments of a step: a type of the product's own, and one plain form in plans, files and the journal.

A product has a frozen dataclass for each action. Digest, plan file and journal hold only the plain form, so
that the history of a removed product stays readable: what is read from there are `RawArguments`, until the
product's table gives them their type again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self, TypeVar

from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from reconciler.errors import UnreadableArguments
from reconciler.text.one_line import LONGEST_NAME, make_one_line

SCHEMA: Final = "schema"
"""Key of the plain form: the version of its schema; absent in version 1."""

OMITTED: Final = MappingProxyType({"omitted": True})
"""Metadata of a field that is absent from the plain form if it has its default."""


@dataclass(frozen=True, slots=True)
class StepFeedback:
    """What messages about a step's outcome contain of its product.

    Args:
        api: the call as messages name it, such as `/setting/upload`; empty for the step's action.
        setting: the version of what the step delivers, text or number, as its one member; else empty.
        addresses: of the node.
        url: of the package that the node loads, or to which the call is sent; without secrets.
        product_version: as the node names it for itself; empty if it is not known, like all that follows.
        license_id: of the node's licence.
        result_version: of the product, as the node names it in the result of the call.
        last_modified: of the package that the node has loaded, as the node returns it.
    """

    api: str = ""
    setting: tuple[Any, ...] = ()
    addresses: tuple[str | None, ...] = ()
    url: str = ""
    product_version: str = ""
    license_id: str = ""
    result_version: str = ""
    last_modified: str = ""

    def merge(self, newer: StepFeedback) -> StepFeedback:
        """All that is known, by the newer one where both know something."""
        known = {one.name: getattr(newer, one.name) for one in fields(newer) if getattr(newer, one.name)}
        return replace(self, **known)

    def redact(self, redact_text: Callable[[str], str]) -> StepFeedback:
        """With every text that may be a node's masked and bounded."""
        texts: dict[str, Any] = {
            one.name: make_one_line(redact_text(value), LONGEST_NAME)
            for one in fields(self)
            if isinstance(value := getattr(self, one.name), str) and value
        }
        addresses = (one and make_one_line(redact_text(one), LONGEST_NAME) for one in self.addresses)
        return replace(self, **texts, addresses=tuple(addresses))


NO_FEEDBACK: Final = StepFeedback()


class Arguments(ABC):
    """Arguments of a step, never a secret in plain text: addresses, names, digests, time limits in seconds.

    A product's types are frozen dataclasses whose fields are the keys of the plain form. A change of their
    meaning needs a new `schema_version`; arguments of an older version are then refused with a message.
    """

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    schema_version: ClassVar[int] = 1

    @abstractmethod
    def plain(self) -> dict[str, Any]:
        """As plain JSON: the same keys in every run, tuples as lists, numbers as they are."""

    def exact_values(self) -> dict[str, Any]:
        """The values whose secrets the plain form masks, in full: key -> value.

        Only for the journal, which encrypts them: recovery needs them to judge the step.
        """
        return {}

    def _read(self, key: str, default: Any) -> Any:  # noqa: ARG002  (used where the type is not known)
        """The value of a key that the program itself reads, whichever product wrote it."""
        return default

    @property
    def payload_digest(self) -> str:
        """Digest of the payload that the step delivers; empty for none."""
        return str(self._read("payload", ""))

    @property
    def named_nodes(self) -> tuple[str, ...]:
        """The nodes that the step concerns beside its own."""
        return tuple(self._read("names", ()))

    @property
    def used_confirmations(self) -> Mapping[str, str]:
        """The confirmations in the fleet file that the step uses up: name -> for what."""
        # With the intent: a call whose answer is lost may have had its effect, and must not be repeated.
        found: Mapping[str, str] = self._read("uses", {})
        return found

    @property
    def facts_of_intent(self) -> Mapping[str, Mapping[str, str]]:
        """Node -> key -> value to store with the step's intent; removed if the step had no effect."""
        # With the intent: a run that is killed before the outcome leaves a record of what it may have done.
        found: Mapping[str, Mapping[str, str]] = self._read("intent_facts", {})
        return found

    @property
    def keeps_facts_until_done(self) -> bool:
        """Whether the facts of the intent hold until the step is done, also after an attempt that failed.

        Otherwise they hold from the intent on, unless the attempt failed. For a step of several calls: a
        failed upgrade may have stopped its node.
        """
        return False

    @property
    def assumes_nodes_lost(self) -> bool:
        """Whether the step is based on an operator's confirmation that all former nodes are gone for good."""
        return bool(self._read("anew", default=False))

    @property
    def doubt(self) -> str:
        """Why the step needs an approval each time, whatever the policy says; empty if it needs none."""
        # For steps of which no answer of a node shows whether they were done before. A confirmation in the
        # fleet file would count on every host, and again after this host's state is lost.
        return str(self._read("doubt", ""))

    @property
    def outage(self) -> str:
        """Why the whole cluster is away meanwhile, so that a plan needs an approval; empty if it is not."""
        return str(self._read("outage", ""))

    @property
    def ends_outage(self) -> bool:
        """Whether it continues a change for which nodes were stopped, which waits for no window."""
        return bool(self._read("resumes", default=False))

    @property
    def longest_wait(self) -> float:
        """Seconds that the step may wait before it acts, such as for clients to leave; 0 for none."""
        return 0.0

    @property
    def is_offer(self) -> bool:
        """Whether the step only records an offer, which its node takes when it next polls."""
        return False

    @property
    def undone_last(self) -> bool:
        """Whether its undo comes after the undo of the steps before it, instead of first.

        For a step that brings in what they left, such as the restart after a new file: a restart brings the
        former file in only once that is back.
        """
        return False

    @property
    def undone_alone(self) -> bool:
        """Whether its failure undoes what the same run did to its node before it, whatever the rollout says.

        For a step that may leave its node down with what it was to bring in.
        """
        return False

    @property
    def interrupts(self) -> bool:
        """Whether the node serves nothing for a while when the step is performed, as at a restart."""
        return False

    @property
    def host_commands(self) -> tuple[str, ...]:
        """The names of the host's commands that the step runs."""
        return ()

    @property
    def is_preparation(self) -> bool:
        """Whether it is of use only to the steps that wait for it, such as a drain before a stop."""
        return False

    @property
    def is_repair(self) -> bool:
        """Whether it brings back a service that failed by itself, such as after an outage of another one."""
        return bool(self._read("heals", default=False))

    @property
    def runs_after_stop(self) -> bool:
        """Whether the step also runs if the run is stopped after the steps before it.

        They leave a state that must not last, such as a cluster without a spare node.
        """
        return False

    @property
    def suits_stopped_node(self) -> bool:
        """Whether its node is meant to be stopped, so that a reservation does not hold the step back."""
        return False

    @property
    def feedback(self) -> StepFeedback:
        """What messages contain of the step."""
        return StepFeedback()

    def __eq__(self, other: object) -> bool:
        """Equal by the plain form, whether typed or raw."""
        return self.plain() == other.plain() if isinstance(other, Arguments) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Arguments are raw in a plan that is read back, whatever the product."""
        if cls is Arguments:
            return core_schema.no_info_after_validator_function(
                RawArguments, core_schema.dict_schema(core_schema.str_schema())
            )
        return handler(source)


@dataclass(frozen=True, slots=True, eq=False)
class RawArguments(Arguments):
    """The plain form as it was written; the program itself reads only a few of its keys."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The same keys and values."""
        return dict(self.values)

    def _read(self, key: str, default: Any) -> Any:
        return self.values.get(key, default)


class TypedArguments(Arguments):
    """What the types of products share: their fields are the plain form."""

    __slots__ = ()

    def plain(self) -> dict[str, Any]:
        """The fields by name; without those marked `OMITTED` that have their default."""
        found = _plain_fields(self)
        return found if self.schema_version == 1 else {SCHEMA: self.schema_version, **found}

    @classmethod
    def load(cls, plain: Mapping[str, Any]) -> Self:
        """What `plain` gave.

        Raises:
            UnreadableArguments: another version of the schema wrote them, or they are damaged.
        """
        version = plain.get(SCHEMA, 1)
        # Refused, not guessed: with another meaning, the step could do something that nobody approved.
        if version != cls.schema_version:
            raise UnreadableArguments(
                f"they have version {version}, but this program reads version {cls.schema_version}"
            )
        try:
            found: Self = _adapter(cls).validate_python({key: plain[key] for key in plain if key != SCHEMA})
        except ValidationError as error:
            places = sorted({".".join(map(str, one["loc"])) for one in error.errors(include_url=False)})
            raise UnreadableArguments(f"{', '.join(places)} is not as it was written") from error
        return found


T = TypeVar("T", bound=TypedArguments)


def read_arguments(arguments: Arguments, kind: type[T]) -> T:
    """Arguments as one type of a product; raw ones are read.

    Raises:
        UnreadableArguments: they are of another type or damaged.
    """
    if isinstance(arguments, kind):
        return arguments
    if isinstance(arguments, RawArguments):
        return kind.load(arguments.values)
    raise UnreadableArguments(f"they are {type(arguments).__name__} in place of {kind.__name__}")


@lru_cache(maxsize=64)
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@lru_cache(maxsize=64)
def _layout(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Field -> the value with which it is left out; `MISSING` if it never is."""
    assert is_dataclass(kind)
    found = []
    for one in fields(kind):
        default = one.default if one.default_factory is MISSING else one.default_factory()
        found.append((one.name, default if one.metadata.get("omitted") else MISSING))
    return tuple(found)


def _plain_fields(value: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kind: Any = type(value)
    for name, default in _layout(kind):
        own = getattr(value, name)
        if default is MISSING or own != default:
            found[name] = own if isinstance(own, str) else _plain(own)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(own) for key, own in value.items()}
    return _plain_fields(value) if is_dataclass(value) else value
