"""Fingerprints as plans, comments and plan files show them: what is secret does not count in them; pure.

They hold no key of a host, because what is approved in one place is applied in another. So whoever has one
can try guesses against it, and what is hidden in a plan must be hidden in its fingerprints, too: two settings
that differ in secrets alone have one shown fingerprint. What decides compares the exact ones, in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.canonical import fingerprint
from reconciler.core.observation import Observed, Present, Stale
from reconciler.core.observation_digests import digest_observations
from reconciler.core.secret import find_secrets, mask
from reconciler.drivers.m2.schema import Content, LoadedSetting, M2Desired
from reconciler.secrets.redaction import NO_VEIL, RedactionMask, hide_by_key


@dataclass(slots=True)
class RedactedFingerprints:
    """Makes them; each section of a setting once, however many nodes show it.

    Args:
        earlier: what is hidden for the sake of earlier revisions.
    """

    earlier: RedactionMask = NO_VEIL
    _known: dict[tuple[int, frozenset[Any]], tuple[Any, str]] = field(init=False, default_factory=dict)

    def of(self, content: Content, wanted: Content | None = None) -> str:
        """The fingerprint of a setting's meaning as it is shown.

        Args:
            content: the setting.
            wanted: what its node is to have, where that is another one: its secrets are hidden by place.
        """
        # By place alone: a host that has the secrets would hide more by value than one that has not, and what
        # was approved there would not fit here.
        places = self.earlier.places | (wanted.redaction_mask.places if wanted is not None else frozenset())
        sections = {key: self._section(key, value, places) for key, value in content.canonical.items()}
        return fingerprint(sections)

    def _section(self, key: str, value: Any, places: frozenset[Any]) -> str:
        known = self._known.get((id(value), places))
        if known is None:
            hidden = RedactionMask(places).hide(hide_by_key("", {key: value}))
            known = self._known[id(value), places] = value, fingerprint(mask(hidden))
        return known[1]


def compute_redacted_digest(document: Any, files: Mapping[str, str], owner: str) -> str:
    """What names a payload: its document as it is shown, and the digests of its resources as they are shown.

    Args:
        document: a setting; may hold secrets.
        files: path -> digest, see `M2Desired.shown_resources`.
        owner: the node that it is for, which counts where a secret stands in it in clear: two payloads that
            differ in one have two names, and their names do not tell whether they do.
    """
    hidden = hide_by_key("", document)
    literal = any(not secret.reference for _, secret in find_secrets(hidden))
    found = fingerprint({"document": mask(hidden), "resources": dict(files)})
    return fingerprint([found, owner]) if literal else found


def compute_redacted_fingerprints(desired: M2Desired, observed: Observed[LoadedSetting]) -> dict[str, str]:
    """Node -> the print of its answer as a plan file keeps it, see `core.observation_digests`."""
    made, wanted = RedactedFingerprints(desired.earlier), {one.node: one.content for one in desired.targets}

    def plain(node: str, answer: Any) -> Any:
        if not isinstance(answer, Present | Stale):
            return answer
        loaded: LoadedSetting = answer.value
        shown = {
            "content": made.of(loaded.content, wanted.get(node)),
            "base": loaded.base,
            "waiting": None if loaded.waiting is None else list(loaded.waiting),
            "asked": bool(loaded.asked),
            "held": None if loaded.held is None else sorted(loaded.held),
        }
        return Present(shown) if isinstance(answer, Present) else Stale(shown, answer.reason)

    return digest_observations(
        Observed({node: plain(node, answer) for node, answer in observed.nodes.items()})
    )
