"""Fingerprints without secrets, as plans, comments and plan files show them; pure.

They have no key of a host, because a plan is approved on one host and applied on another. So anybody who sees
one can test guesses of a secret against it. That is why secrets are masked first: two settings that differ
only in secrets have the same redacted fingerprint. Decisions compare the exact fingerprints, in memory.
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
from reconciler.secrets.redaction import NO_MASK, RedactionMask, hide_by_key


@dataclass(slots=True)
class RedactedFingerprints:
    """Computes redacted fingerprints; each section of a setting once, however many nodes show it.

    Args:
        earlier: what is hidden because it was a secret in earlier revisions.
    """

    earlier: RedactionMask = NO_MASK
    _cache: dict[tuple[int, frozenset[Any]], tuple[Any, str]] = field(init=False, default_factory=dict)
    """(id of a setting's meaning or of a section of it, hidden places) -> it, and its fingerprint."""

    def of(self, content: Content, wanted: Content | None = None, *, whole: bool = False) -> str:
        """The redacted fingerprint of a setting's meaning.

        Args:
            content: the setting.
            wanted: the node's desired setting, where that differs; its secrets are hidden by place.
            whole: with the unmanaged fields; without them, a value that moves by itself is no change.
        """
        # By place only: a host that has the secrets would hide more by value than one without them, and a
        # plan approved on the one would not match on the other.
        places = self.earlier.places | (wanted.redaction_mask.places if wanted is not None else frozenset())
        sections = {}
        # What differs between nodes is a token, at a place that both are hidden at.
        shared = content.common or content
        shown = shared.canonical if whole else shared.compared
        if known := self._cache.get((id(shown), places)):
            return known[1]
        masks = shared.redaction_masks if shown is shared.canonical else {}
        for key, value in shown.items():
            cached = self._cache.get((id(value), places))
            if cached is None:
                section = masks[key].hidden if key in masks else hide_by_key("", {key: value})
                hidden = RedactionMask(places).hide(section)
                # The value is kept too: an id is unique only as long as its object exists.
                cached = self._cache[id(value), places] = value, fingerprint(mask(hidden))
            sections[key] = cached[1]
        found = fingerprint(sections)
        self._cache[id(shown), places] = shown, found
        return found


def compute_redacted_digest(document: Any, files: Mapping[str, str], owner: str) -> str:
    """The redacted digest of a payload.

    Args:
        document: a setting; may have secrets.
        files: path -> digest, see `M2Desired.shown_resources`.
        owner: the first node that gets it.
    """
    hidden = hide_by_key("", document)
    has_literal = any(not secret.reference for _, secret in find_secrets(hidden))
    found = fingerprint({"document": mask(hidden), "resources": dict(files)})
    # With a secret in plain text the node counts too: two payloads that differ in it then have two digests,
    # and equal digests do not reveal that two nodes have the same secret.
    return fingerprint([found, owner]) if has_literal else found


def compute_redacted_fingerprints(desired: M2Desired, observed: Observed[LoadedSetting]) -> dict[str, str]:
    """Node -> digest of its answer for plan files, see `core.observation_digests`."""
    fingerprints = RedactedFingerprints(desired.earlier)
    wanted = {target.node: target.content for target in desired.targets}

    def make_plain(node: str, answer: Any) -> Any:
        if not isinstance(answer, Present | Stale):
            return answer
        loaded: LoadedSetting = answer.value
        shown = {
            # What a node shows in its unmanaged fields is delivered to it again: the file binds to that too.
            "content": fingerprints.of(loaded.own or loaded.content, wanted.get(node), whole=True),
            "base": loaded.base,
            "waiting": None if loaded.waiting is None else list(loaded.waiting),
            # Whether, and not which: an exact fingerprint would let a reader test guesses of a secret.
            "asked": bool(loaded.asked),
            "held": None if loaded.held is None else sorted(loaded.held),
        }
        return Present(shown) if isinstance(answer, Present) else Stale(shown, answer.reason)

    return digest_observations(
        Observed({node: make_plain(node, answer) for node, answer in observed.nodes.items()})
    )
