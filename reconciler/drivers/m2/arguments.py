"""What a delivery needs, one type for each way of it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from reconciler.core.arguments import OMITTED, StepFeedback, TypedArguments, read_arguments
from reconciler.core.plan import Step


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeliveryArguments(TypedArguments):
    """All that acting and judging need, whichever way a setting is delivered.

    Args:
        bases: URLs at which the node may answer, tried in turn, the one that answered first.
        addresses: of the node, for messages.
        before: fingerprint of the setting that was read for the plan; empty where none was loaded.
        after: fingerprint of the setting that is delivered.
        restart: fields that wait for a restart once it is delivered.
        resources: path in the package -> digest of the file.
        setting_version: `meta.version` of the setting, masked where it is a secret.
        timeout: seconds for one call.
        connect: seconds for its connection.
        uses: words of the fleet file that it uses up, such as `first_delivery` -> the URL.
        shown: key -> value, of those of `before`, `after` and `resources` that the plain form has in
            the place of the exact ones: what is secret does not count in them.
        returning: whether it gives back what the node had: what waits for a restart has to go back as well.
    """

    api: ClassVar[str]
    """How messages name the call."""

    bases: tuple[str, ...]
    addresses: tuple[str | None, ...]
    before: str
    after: str
    restart: tuple[str, ...]
    resources: Mapping[str, str]
    setting_version: Any
    timeout: int | float
    connect: int | float
    uses: Mapping[str, str] = field(default_factory=dict, metadata=OMITTED)
    returning: bool = field(default=False, metadata=OMITTED)
    shown: Mapping[str, Any] = field(default_factory=dict, metadata=OMITTED)

    def plain(self) -> dict[str, Any]:
        """See `core.arguments.Arguments`; fingerprints are those that plans show."""
        found = TypedArguments.plain(self)
        found |= found.pop("shown", {})
        return found

    def exact(self) -> dict[str, Any]:
        """See `core.arguments.Arguments`."""
        return {key: getattr(self, key) for key in self.shown}

    def completed(self, after: str, resources: Mapping[str, str]) -> Self:
        """The same, read from its plain form, with what it delivers in full."""
        shown = {"before": self.before, "after": self.after, "resources": dict(self.resources)}
        return replace(self, after=after, resources=resources, shown=shown)

    @property
    def used_words(self) -> Mapping[str, str]:
        """See `core.arguments.Arguments`."""
        return self.uses

    @property
    def feedback(self) -> StepFeedback:
        """See `core.arguments.Arguments`."""
        return StepFeedback(self.api, (self.setting_version,), self.addresses)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UploadArguments(DeliveryArguments):
    """A setting is sent.

    Args:
        payload: digest of what is sent.
        part: `api.multipartName` of the setting that the node has loaded.
    """

    api = "/setting/upload"

    payload: str
    part: str

    @property
    def payload_digest(self) -> str:
        """See `core.arguments.Arguments`."""
        return self.payload


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckoutArguments(DeliveryArguments):
    """The node pulls its repository.

    Args:
        method: the HTTP verb of the call.
    """

    api = "/setting/deploy/checkout"

    method: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalArguments(DeliveryArguments):
    """The node applies the file that lies on its disk."""

    api = "/setting/deploy/local"


ACTIONS: Final[Mapping[str, type[DeliveryArguments]]] = MappingProxyType(
    {"upload": UploadArguments, "checkout": CheckoutArguments, "local": LocalArguments}
)
"""Action -> what it needs."""


def read_delivery(step: Step) -> DeliveryArguments:
    """The arguments of a step of M2.

    Raises:
        UnreadableArguments: they are of another form.
    """
    return read_arguments(step.arguments, ACTIONS.get(step.action, DeliveryArguments))
