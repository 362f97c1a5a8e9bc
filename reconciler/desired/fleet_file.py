"""The fleet file itself: the models of its top level, and how it is found among a source's files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, create_model

from reconciler.core.change_windows import Freeze, Suspend, Window
from reconciler.core.entries import Address, FeedbackEntry, Name
from reconciler.core.expiry import EXPIRY_WARNING
from reconciler.core.fields import Span, StrictModel
from reconciler.core.policy import ChangeRules, Lint, Override, Policy
from reconciler.core.rollout_rules import Rollout
from reconciler.desired.schemas.judge import SchemaEntry
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.errors import InputError
from reconciler.ports.driver import Driver
from reconciler.ports.source import FLEET_FILES


class FleetFile(StrictModel):
    """The fleet file's top level; each cluster is read by the model of its kind."""

    schema_: Any = Field(default=None, alias="$schema", description="For editors; ignored.")
    name: Name | None = Field(
        default=None,
        description="Name of the fleet on its hosts; required if one repository has several fleets.",
        examples=["edge"],
    )
    renamed_from: Name | None = Field(
        default=None, description="The previous `name` of the fleet: hosts keep its state under the new name."
    )
    version: Literal["commit"] | None = Field(
        default=None, description="`commit` writes the short commit id into the settings of every cluster."
    )
    feedback: FeedbackEntry | None = Field(default=None, description="Where messages about changes are sent.")
    management: tuple[Address, ...] = Field(
        default=(),
        description="Addresses of the management hosts as the nodes see them, if a cluster has none.",
        examples=[["192.0.2.7"]],
    )
    policy: Policy | None = Field(default=None, description="Limits of clusters without their own.")
    rollout: Rollout | None = Field(
        default=None, description="Waves and their gates, of clusters without their own."
    )
    windows: tuple[Window, ...] = Field(
        default=(), description="When changes may be made, of clusters without their own windows."
    )
    freeze: tuple[Freeze, ...] = Field(default=(), description="Times when no cluster is changed.")
    suspend: Suspend | None = Field(default=None, description="Suspends changes in all clusters.")
    drift: Literal["undo", "report"] = Field(
        default="undo",
        description="What a run does about nodes that were changed behind its back, in clusters without "
        "their own `drift`: `undo` it, or only `report` it.",
    )
    expiry_warning: Span = Field(
        default=EXPIRY_WARNING,
        description="How long before its end status and metrics name what expires: delivered certificates, "
        "those of the management host, tokens, overrides, licences. Default: 30 days.",
        examples=["30d"],
    )
    require_signed: Literal["gpg", "ssh"] | None = Field(
        default=None,
        description="Nothing is changed unless the management host has verified such a signature of the "
        "revision. The host alone says which signers it accepts.",
    )
    overrides: tuple[Override, ...] = Field(
        default=(), description="Guards that are set aside for a limited time."
    )
    lint: Lint = Field(default_factory=Lint, description="Settings of lints.")
    schemas: tuple[SchemaEntry, ...] = Field(
        default=(), max_length=100, description="JSON Schemas of your own, by which settings are judged."
    )
    clusters: list[Any] = Field(description="The clusters, at least one.")

    def defaults(self) -> dict[str, Any]:
        """Values for clusters without their own, as plain data."""
        given = {"version": self.version, "management": list(self.management)}
        return {key: value for key, value in given.items() if value}

    def change_rules(self) -> ChangeRules:
        """When and how clusters may be changed, for clusters without their own rules."""
        return ChangeRules(
            self.rollout,
            self.windows,
            self.freeze,
            self.suspend,
            self.require_signed or "",
            keeps_drift=self.drift == "report",
        )


def make_policy_model(value: Any, drivers: Mapping[str, Driver[Any, Any]]) -> type[Policy]:
    """The model of the limits in a fleet file.

    The fleet's own policy counts for clusters of every kind, so it may name the limits of all products.
    Products are loaded only if the file names a limit that not every cluster has, because loading takes time.

    Args:
        value: the fleet file, valid or not.
        drivers: kind -> product.
    """
    listed = value.get("clusters") if isinstance(value, Mapping) else None
    clusters = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    policies = [part.get("policy") for part in (value, *clusters) if isinstance(part, Mapping)]
    named = {key for policy in policies if isinstance(policy, Mapping) for key in policy}
    if named <= Policy.model_fields.keys():
        return Policy
    kinds = {one["kind"] for one in clusters if isinstance(one.get("kind"), str)}
    return make_joint_policy_model(
        drivers[kind] for kind in sorted({*drivers, *(kind for kind in kinds if kind in drivers)})
    )


def make_joint_policy_model(drivers: Iterable[Driver[Any, Any]]) -> type[Policy]:
    """One model with the limits of all these products."""
    own = dict.fromkeys(driver.policy for driver in drivers if driver.policy is not Policy)
    return _join_policies(tuple(own))


@lru_cache(maxsize=16)
def _join_policies(policies: tuple[type[Policy], ...]) -> type[Policy]:
    if not policies:
        return Policy
    return create_model(Policy.__name__, __base__=policies, __doc__=Policy.__doc__)


@lru_cache(maxsize=16)
def make_fleet_file_model(policy: type[Policy]) -> type[FleetFile]:
    """The model of the fleet file's top level whose limits are these."""
    if policy is Policy:
        return FleetFile
    field: Any = (policy | None, FleetFile.model_fields["policy"])
    return create_model(FleetFile.__name__, __base__=FleetFile, __doc__=FleetFile.__doc__, policy=field)


def find_fleet_file(names: Sequence[str], drivers: Mapping[str, Driver[Any, Any]]) -> tuple[str, str]:
    """The name of the fleet file and an empty text; or of a single settings file and its kind.

    Raises:
        InputError: there is neither, or more than one.
    """
    # At the top only: a fleet file in a folder below belongs to another fleet of the repository.
    here = {name for name in names if "/" not in name}
    found = [(name, "") for name in FLEET_FILES if name in here]
    if not found:
        lone = {kind: drivers[kind].lone_file for kind in sorted(drivers)}
        found = [(name, kind) for kind, name in lone.items() if name and name in here]
        if not found:
            raise InputError([_nothing(names, sorted(filter(None, lone.values())))])
    if len(found) > 1:
        raise InputError([_ambiguous(found)])
    return found[0]


def _nothing(names: Sequence[str], lone: list[str]) -> Diagnostic:
    wanted = ", ".join((*FLEET_FILES[1:], *lone))
    message = f"no {FLEET_FILES[0]} found, and none of {wanted}"
    deeper = sorted(name for name in names if name.rpartition("/")[2] in (*FLEET_FILES, *lone))
    if deeper:
        folder = deeper[0].rpartition("/")[0]
        remedy = f"to use `{deeper[0]}`, give `--path {folder}`"
    else:
        remedy = f"write a {FLEET_FILES[0]} with `clusters:`, each with `name`, `kind` and `nodes`"
    return Diagnostic(Severity.ERROR, "no-fleet-file", message, remedy, position=Position(FLEET_FILES[0]))


def _ambiguous(found: list[tuple[str, str]]) -> Diagnostic:
    names = [name for name, _ in found]
    if found[0][1]:
        kinds = " and ".join(kind for _, kind in found)
        message = f"{names[0]} without a fleet file can be of several kinds: {kinds}"
        remedy = f"write a {FLEET_FILES[0]} with the right `kind`"
    else:
        message, remedy = f"there is more than one fleet file: {', '.join(names)}", "keep one of them"
    return Diagnostic(Severity.ERROR, "several-fleet-files", message, remedy, position=Position(names[0]))
