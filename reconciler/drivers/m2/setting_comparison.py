"""What a plan says about a node that shows one setting and is to have another; pure.

Most nodes of a cluster show one setting and are to have one. Others differ from them in `meta` alone. So a
pair of settings is compared once, however many nodes have it, and so is the rest of a pair that differs in
`meta`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.core.diff import Change
from reconciler.core.secret import mask
from reconciler.drivers.m2.arguments import PART
from reconciler.drivers.m2.changes import SectionChanges, combine_masks, find_masked_changes
from reconciler.drivers.m2.lock_out import has_same_access
from reconciler.drivers.m2.redacted_fingerprints import RedactedFingerprints
from reconciler.drivers.m2.risk import ChangeImpact, assess_impact
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.diagnostics import get_value
from reconciler.drivers.m2.shared_contents import share_pair
from reconciler.secrets.redaction import RedactionMask

VERSION: Final = "/meta/version"

_MULTIPART_NAME: Final = ("env", "management", "api", "multipartName")


@dataclass(frozen=True, slots=True)
class SettingComparison:
    """What a plan says of a pair of settings, whichever node has it.

    Args:
        changes: from the one to the other, redacted.
        impact: effect and risk of the changes.
        shown_before: redacted fingerprint of the setting that the node shows; empty if it has none.
        shown_after: redacted fingerprint of the setting that it is to have.
        version_before: `meta.version` that the node shows, for messages; None if it has no setting.
        version_after: `meta.version` of the setting that it is to have, masked where it is a secret.
        part: `api.multipartName` of the setting that the node has.
        keeps_access: whether the access parts of both are equal.
        keeps_version: whether there are changes, and none of them is of the version.
    """

    changes: tuple[Change, ...]
    impact: ChangeImpact
    shown_before: str
    shown_after: str
    version_before: str | None
    version_after: Any
    part: str
    keeps_access: bool
    keeps_version: bool


@dataclass(slots=True)
class SettingComparer:
    """Compares the settings of one cluster, each pair once.

    Args:
        earlier: what is hidden because it was a secret in earlier revisions.
        fingerprints: redacted ones, for the plan.
    """

    earlier: RedactionMask
    fingerprints: RedactedFingerprints
    # By identity: the cache of contents gives equal answers, and equal sections of different answers, one
    # object. The objects are kept beside the result: an id is unique only as long as its object exists.
    _pairs: dict[tuple[int, int], tuple[Content | None, Content, SettingComparison]] = field(
        init=False, default_factory=dict
    )
    _sections: SectionChanges = field(init=False, default_factory=SectionChanges)
    _rests: dict[tuple[Any, ...], tuple[Content, Content, ChangeImpact, str, bool]] = field(
        init=False, default_factory=dict
    )

    def compare(self, before: Content | None, after: Content) -> SettingComparison:
        """What is to be said of a node that shows `before`, None for no setting, and is to have `after`."""
        if before is not None:
            before, after = share_pair(before, after)
        key = (id(before), id(after))
        known = self._pairs.get(key)
        if known is None:
            known = self._pairs[key] = (before, after, self._compare_anew(before, after))
        return known[2]

    def _compare_anew(self, before: Content | None, after: Content) -> SettingComparison:
        redaction_mask = combine_masks(before, after, self.earlier)
        changes = find_masked_changes(before, after, redaction_mask, self._sections)
        version_after = mask(after.version_value)
        shown_after = self.fingerprints.of(after)
        if before is None:
            impact = assess_impact(None, after, changes)
            return SettingComparison(
                changes,
                impact,
                "",
                shown_after,
                None,
                version_after,
                PART,
                keeps_access=False,
                keeps_version=False,
            )
        impact, part, keeps_access = self._compare_rest(before, after, changes)
        return SettingComparison(
            changes,
            impact,
            self.fingerprints.of(before, after),
            shown_after,
            before.version_behind(redaction_mask),
            version_after,
            part,
            keeps_access,
            keeps_version=bool(changes) and all(change.pointer != VERSION for change in changes),
        )

    def _compare_rest(
        self, before: Content, after: Content, changes: tuple[Change, ...]
    ) -> tuple[ChangeImpact, str, bool]:
        """Impact, multipart name, and whether access stays: of `meta`, only its pointers count here."""
        key = (*_list_ids(before), *_list_ids(after), *[change.pointer for change in changes])
        known = self._rests.get(key)
        if known is None:
            name = get_value(before.canonical, _MULTIPART_NAME)
            part = name if isinstance(name, str) and name else PART
            impact = assess_impact(before, after, changes)
            known = self._rests[key] = before, after, impact, part, has_same_access(before, after)
        return known[2:]


def _list_ids(content: Content) -> tuple[int, ...]:
    """The identity of all that the impact of a change is found from: the sections other than `meta`."""
    canonical, compared = content.canonical, content.compared
    env, hosting = canonical.get("env"), canonical.get("hosting")
    ids = (id(env), id(hosting), id(content.document.get("hosting")))
    # Without unmanaged fields both are the same object.
    return ids if compared is canonical else (*ids, id(compared.get("env")), id(compared.get("hosting")))
