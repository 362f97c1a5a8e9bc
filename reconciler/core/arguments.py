"""What a step's verb needs: a type of the product's own, and one plain form in plans, files and the journal.

A product has a frozen dataclass for each action. Digest, plan file and journal hold the plain form alone, so
that the history of a product that is gone stays readable: what is read from there are `RawArguments`, until
the product's table gives them back their type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self, TypeVar

from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from reconciler.errors import UnreadableArguments

A = TypeVar("A", bound="Arguments")

SCHEMA: Final = "schema"
"""Key of the plain form: the version of its schema; absent in version 1."""

OMITTED: Final = MappingProxyType({"omitted": True})
"""Metadata of a field that is absent from the plain form where it has its default."""

PAYLOAD: Final = "payload"
NAMES: Final = "names"
USES: Final = "uses"
INTENT_FACTS: Final = "intent_facts"
ANEW: Final = "anew"
DOUBT: Final = "doubt"
"""Keys of the plain form that the program itself reads, whichever product wrote them."""


@dataclass(frozen=True, slots=True)
class StepFeedback:
    """What a product has to say of a step in messages about its outcome.

    Args:
        api: the call as messages name it, such as `/setting/upload`; empty for the step's action.
        setting: the version of what the step delivers, text or number, as its one member; empty where the
            step delivers nothing with a version.
        addresses: of the node.
        product_version: what the node said it runs; empty where it is not known.
    """

    api: str = ""
    setting: tuple[Any, ...] = ()
    addresses: tuple[str | None, ...] = ()
    product_version: str = ""


class Arguments(ABC):
    """Arguments of a step, never a secret in clear: addresses, names, digests, time limits in seconds.

    A product's types are frozen dataclasses whose fields are the keys of the plain form. A change of their
    meaning raises `schema_version`; what an older version wrote is then refused with a sentence.
    """

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    schema_version: ClassVar[int] = 1

    @abstractmethod
    def plain(self) -> dict[str, Any]:
        """As plain JSON: the same keys in every run, tuples as lists, numbers as they are."""

    def exact(self) -> dict[str, Any]:
        """What the plain form shows without its secrets, in full: key -> value.

        It is for the journal alone, which keeps it encrypted: a run that was killed is settled by it.
        """
        return {}

    @property
    def payload_digest(self) -> str:
        """Digest of the payload that the step delivers; empty where it delivers none."""
        return ""

    @property
    def named_nodes(self) -> tuple[str, ...]:
        """The nodes that the step speaks for beside its own."""
        return ()

    @property
    def used_words(self) -> Mapping[str, str]:
        """The words of the fleet file that count once and that the step uses up: name -> for what.

        They are written down with the intent, because a call whose answer is lost may have had its effect.
        """
        return {}

    @property
    def facts_of_intent(self) -> Mapping[str, Mapping[str, str]]:
        """Node -> key -> value that the store keeps from the moment of the step's intent.

        They hold as long as the step's call may have had an effect; a step that is shown to have had none
        takes them back. So a run that is killed between call and outcome leaves no doubt about what it may
        have begun.
        """
        return {}

    @property
    def is_anew(self) -> bool:
        """Whether the step rests on a person's word that all nodes of before are gone for good."""
        return False

    @property
    def doubt(self) -> str:
        """Why the step needs an approval each time, whatever the policy says; empty where it needs none.

        No answer of a node then tells whether the step would be done a second time, and a word in the fleet
        file would count on every host, and again after the state of this one is lost.
        """
        return ""

    @property
    def follows_at_once(self) -> bool:
        """Whether the step follows those before it also where the run is asked to stop in between.

        What they leave behind must not stay so: a cluster without a node to spare.
        """
        return False

    @property
    def feedback(self) -> StepFeedback:
        """What messages say of the step."""
        return StepFeedback()

    def __eq__(self, other: object) -> bool:
        """Equal by what is written down: typed or raw makes no difference."""
        return self.plain() == other.plain() if isinstance(other, Arguments) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """In a plan that is read back, arguments of any product are raw."""
        if cls is Arguments:
            return core_schema.no_info_after_validator_function(
                RawArguments, core_schema.dict_schema(core_schema.str_schema())
            )
        return handler(source)


@dataclass(frozen=True, slots=True, eq=False)
class RawArguments(Arguments):
    """The plain form as it was written; only what the program itself reads of it has a meaning here."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The same keys and values."""
        return dict(self.values)

    @property
    def payload_digest(self) -> str:
        """See `Arguments`."""
        return str(self.values.get(PAYLOAD, ""))

    @property
    def named_nodes(self) -> tuple[str, ...]:
        """See `Arguments`."""
        return tuple(self.values.get(NAMES, ()))

    @property
    def used_words(self) -> Mapping[str, str]:
        """See `Arguments`."""
        found: Mapping[str, str] = self.values.get(USES, {})
        return found

    @property
    def facts_of_intent(self) -> Mapping[str, Mapping[str, str]]:
        """See `Arguments`."""
        found: Mapping[str, Mapping[str, str]] = self.values.get(INTENT_FACTS, {})
        return found

    @property
    def is_anew(self) -> bool:
        """See `Arguments`."""
        return bool(self.values.get(ANEW))

    @property
    def doubt(self) -> str:
        """See `Arguments`."""
        return str(self.values.get(DOUBT, ""))


class TypedArguments(Arguments):
    """What the types of products share: their fields are the plain form."""

    __slots__ = ()

    def plain(self) -> dict[str, Any]:
        """The fields by name; one that is marked `OMITTED` is left out where it has its default."""
        found = _plain_fields(self)
        return found if self.schema_version == 1 else {SCHEMA: self.schema_version, **found}

    @classmethod
    def load(cls, plain: Mapping[str, Any]) -> Self:
        """What `plain` gave.

        Raises:
            UnreadableArguments: another version of the schema wrote them, or they are damaged.
        """
        version = plain.get(SCHEMA, 1)
        if version != cls.schema_version:
            raise UnreadableArguments(
                f"they are of version {version}, and this program reads version {cls.schema_version}"
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
        UnreadableArguments: they are none of it.
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
    """Field -> the value with which it is left out; `MISSING` where it never is."""
    assert is_dataclass(kind)
    return tuple(
        (one.name, _default(one) if one.metadata.get("omitted") else MISSING) for one in fields(kind)
    )


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


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
