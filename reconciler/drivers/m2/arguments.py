"""Arguments of the steps of M2: one type for each way of delivery, and that of restarts; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from reconciler.core.arguments import OMITTED, StepFeedback, TypedArguments, read_arguments
from reconciler.core.plan import Step
from reconciler.text.urls import strip_url

PART: Final = "settingFile"
"""The default of `api.multipartName` (M2 manual, API)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeliveryArguments(TypedArguments):
    """What every way of delivery needs to act and to judge.

    Args:
        bases: URLs at which the node may answer, tried in turn; the first is where it answered.
        addresses: of the node, for messages.
        before: fingerprint of the setting that was read for the plan; empty where none was loaded.
        after: fingerprint of the setting that is delivered.
        restart: fields that wait for a restart after the delivery.
        resources: path in the package -> digest of the file.
        setting_version: `meta.version` of the setting, masked where it is a secret.
        timeout: seconds for one call.
        connect: seconds for its connection.
        uses: confirmations of the fleet file that it uses, such as `first_delivery` -> the URL.
        shown: redacted values of `before`, `after` and `resources`, which the plain form has instead of the
            exact ones.
        returning: whether it is an undo, which has to restore what waits for a restart too.
        unmanaged: the fields that do not count, see `core.unmanaged`, as texts.
    """

    api: ClassVar[str]
    """Name of the call in messages."""

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
    unmanaged: tuple[str, ...] = field(default=(), metadata=OMITTED)
    shown: Mapping[str, Any] = field(default_factory=dict, metadata=OMITTED)

    def plain(self) -> dict[str, Any]:
        """See `core.arguments.Arguments`; the fingerprints are redacted."""
        found = TypedArguments.plain(self)
        found |= found.pop("shown", {})
        return found

    def exact_values(self) -> dict[str, Any]:
        """See `core.arguments.Arguments`."""
        return {key: getattr(self, key) for key in self.shown}

    def completed(self, after: str, resources: Mapping[str, str]) -> Self:
        """The same, read from its plain form, with the exact values of what it delivers."""
        shown = {"before": self.before, "after": self.after, "resources": dict(self.resources)}
        return replace(self, after=after, resources=resources, shown=shown)

    @property
    def used_confirmations(self) -> Mapping[str, str]:
        """See `core.arguments.Arguments`."""
        return self.uses

    @property
    def feedback(self) -> StepFeedback:
        """See `core.arguments.Arguments`."""
        url = strip_url(self.bases[0] + self.api) if self.bases else ""
        return StepFeedback(self.api, (self.setting_version,), self.addresses, url)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UploadArguments(DeliveryArguments):
    """A setting is sent.

    Args:
        payload: digest of the payload.
        part: `api.multipartName` of the setting that the node has loaded.
        reports: whether the node reports to this host.
        label: the stamp in the setting by which the node's reports show it; empty if it has none.
        is_blind: whether it delivers files alone, to a node that does not show which files it has.
    """

    api = "/setting/upload"

    payload: str
    part: str
    reports: bool = field(default=False, metadata=OMITTED)
    label: str = field(default="", metadata=OMITTED)
    is_blind: bool = field(default=False, metadata=OMITTED)

    @property
    def payload_digest(self) -> str:
        """See `core.arguments.Arguments`."""
        return self.payload


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckoutArguments(DeliveryArguments):
    """The node checks out its repository.

    Args:
        method: the HTTP method of the call.
    """

    api = "/setting/deploy/checkout"

    method: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalArguments(DeliveryArguments):
    """The node applies the file on its disk."""

    api = "/setting/deploy/local"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OfferArguments(DeliveryArguments):
    """A setting is offered to a node that polls.

    Args:
        payload: digest of the payload.
        label: the stamp in the setting by which the node's polls show it; empty if it has none.
        period: seconds between two polls.
        fresh: seconds up to which the last call of the node may be old for what it sent to count.
        checkout: whether the node is only asked to check out its repository, and gets no package.
        channel: of a message bus, on which the node listens now, as a text; empty for one that polls.
        node_id: its id in M2Live, which a path of a channel may have; empty if it has none.
    """

    api = "/setting/upload"

    payload: str
    label: str
    period: int | float
    fresh: int | float
    checkout: bool = field(default=False, metadata=OMITTED)
    channel: str = field(default="", metadata=OMITTED)
    node_id: str = field(default="", metadata=OMITTED)

    @property
    def feedback(self) -> StepFeedback:
        """See `core.arguments.Arguments`."""
        # No URL: the node's own API is not called.
        api = CheckoutArguments.api if self.checkout else self.api
        return StepFeedback(api, (self.setting_version,), self.addresses)

    @property
    def is_offer(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def payload_digest(self) -> str:
        """See `core.arguments.Arguments`."""
        return self.payload


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RestartArguments(TypedArguments):
    """A node is restarted by a command of the host, so that its restart-only fields take effect.

    Args:
        bases: URLs at which the node may answer; empty for one that polls and is not called.
        addresses: of the node, for messages.
        after: fingerprint of the setting that the node has to show.
        unstamped: the same without `meta.version`, where that has a stamp; else empty.
        fields: restart-only fields that wait, or will after the delivery before this step.
        setting_version: `meta.version` of the setting, masked where it is a secret.
        started: text of the node's last start when the step was planned; another one shows a restart.
        command: of the host, which restarts the node.
        values: placeholder of the command -> text.
        started_command: of the host, which prints the text of the last start.
        started_values: placeholder of that command -> text.
        timeout: seconds for one call of the node's API.
        connect: seconds for its connection.
        fresh: seconds up to which the last call of a node that polls counts; 0 for one that does not.
        shown: redacted values of `after` and `unstamped`, which the plain form has instead of the exact ones.
        returning: whether it brings former values back.
        unmanaged: the fields that do not count, as texts.
    """

    bases: tuple[str, ...]
    addresses: tuple[str | None, ...]
    after: str
    unstamped: str
    fields: tuple[str, ...]
    setting_version: Any
    started: str
    command: str
    values: Mapping[str, str]
    started_command: str
    started_values: Mapping[str, str]
    timeout: int | float
    connect: int | float
    fresh: int | float = field(default=0, metadata=OMITTED)
    returning: bool = field(default=False, metadata=OMITTED)
    unmanaged: tuple[str, ...] = field(default=(), metadata=OMITTED)
    shown: Mapping[str, Any] = field(default_factory=dict, metadata=OMITTED)

    def plain(self) -> dict[str, Any]:
        """See `core.arguments.Arguments`; the fingerprints are redacted."""
        found = TypedArguments.plain(self)
        found |= found.pop("shown", {})
        return found

    def exact_values(self) -> dict[str, Any]:
        """See `core.arguments.Arguments`."""
        return {key: getattr(self, key) for key in self.shown}

    def completed(self, after: str, unstamped: str) -> Self:
        """The same, read from its plain form, with the exact fingerprints."""
        shown = {"after": self.after, "unstamped": self.unstamped}
        return replace(self, after=after, unstamped=unstamped, shown=shown)

    @property
    def undone_last(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def interrupts(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def host_commands(self) -> tuple[str, ...]:
        """See `core.arguments.Arguments`."""
        return (self.command, self.started_command)

    @property
    def feedback(self) -> StepFeedback:
        """See `core.arguments.Arguments`."""
        return StepFeedback("/m2/restart", (self.setting_version,), self.addresses)


RESTART: Final = "restart"
"""The action of the step that restarts a node."""

ACTIONS: Final[Mapping[str, type[DeliveryArguments]]] = MappingProxyType(
    {
        "upload": UploadArguments,
        "checkout": CheckoutArguments,
        "local": LocalArguments,
        "offer": OfferArguments,
    }
)
"""Action of a delivery -> the type of its arguments."""


def read_delivery(step: Step) -> DeliveryArguments:
    """The arguments of a step that delivers a setting.

    Raises:
        UnreadableArguments: they have another form.
    """
    return read_arguments(step.arguments, ACTIONS.get(step.action, DeliveryArguments))


def read_restart(step: Step) -> RestartArguments:
    """The arguments of a step that restarts a node.

    Raises:
        UnreadableArguments: they have another form.
    """
    return read_arguments(step.arguments, RestartArguments)


def is_restart(step: Step) -> bool:
    """Whether a step restarts a node; every other one delivers a setting."""
    return step.action == RESTART
