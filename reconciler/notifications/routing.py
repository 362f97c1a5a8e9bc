"""Which addresses get a notice; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from reconciler.core.alerts import Notice
from reconciler.host.notification_rules import NotificationRules, Recipient, TellingRule
from reconciler.ports.notification_store import Router


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a recipient.

    Args:
        name: of the recipient and of the place of the address; no secret.
        place: where the address is: a file, or `$NAME` for a variable or a credential.
        recipient: whose address it is.
    """

    name: str
    place: Path | str
    recipient: Recipient


def list_addresses(rules: NotificationRules, recipient: str = "") -> Mapping[str, Address]:
    """The addresses of one recipient, or of all, by their names."""
    return {
        _name_address(name, place): Address(_name_address(name, place), place, one)
        for name, one in rules.recipients.items()
        if recipient in {"", name}
        for place in one.addresses
    }


def make_router(rules: NotificationRules) -> Router:
    """What gives the addresses for each notice by these rules."""
    return partial(_route_notice, rules)


def is_told(rule: TellingRule, notice: Notice) -> bool:
    """Whether a rule fits a notice; what is about no single cluster fits every pattern of clusters."""
    return (
        (not rule.events or notice.event in rule.events)
        and notice.severity.rank >= rule.severity.rank
        and (
            not rule.clusters
            or not notice.cluster
            or any(fnmatchcase(notice.cluster, pattern) for pattern in rule.clusters)
        )
    )


def _route_notice(rules: NotificationRules, notice: Notice) -> Sequence[str]:
    told = dict.fromkeys(name for rule in rules.rules if is_told(rule, notice) for name in rule.recipients)
    return [_name_address(name, place) for name in told for place in rules.recipients[name].addresses]


def _name_address(recipient: str, place: Path | str) -> str:
    return f"{recipient} {place}"
