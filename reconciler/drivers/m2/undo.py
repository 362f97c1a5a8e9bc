"""The undo of a delivery: the setting that the node showed before is delivered again; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.canonical import fingerprint
from reconciler.core.json_reader import JsonError, read_json
from reconciler.core.plan import Effect, Inverse, Payload, Risk, Step
from reconciler.core.secret import Secret, find_secrets, mask
from reconciler.core.unmanaged import read_patterns
from reconciler.drivers.m2.arguments import PART, OfferArguments, UploadArguments, read_delivery
from reconciler.drivers.m2.central_server.offered_parts import UnreadableParts, read_package
from reconciler.drivers.m2.changes import find_changes
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.feed_rendering import carry_feeds
from reconciler.drivers.m2.feed_topology import write_feed_channel
from reconciler.drivers.m2.judge import has_files
from reconciler.drivers.m2.package import compute_digests
from reconciler.drivers.m2.redacted_fingerprints import compute_redacted_digest
from reconciler.drivers.m2.schema import LoadedSetting, M2Desired
from reconciler.drivers.m2.setting.check import LIMITS
from reconciler.drivers.m2.setting.diagnostics import get_value
from reconciler.ports.transport import OfferedContent
from reconciler.secrets.redaction import hide_by_key
from reconciler.text.json_pointer import make_pointer
from reconciler.text.one_line import LONGEST_NAME, make_one_line

_STAMP: Final = re.compile(r"[0-9a-f]{7,64}")
"""The form of a commit's short id."""

_PORT: Final = "/env/management/api/port"


def undo_delivery(
    step: Step, before: LoadedSetting, payloads: Mapping[str, Payload]
) -> tuple[Step, Mapping[str, Payload]] | None:
    """The upload that undoes a delivery; None where its success could not be ensured or not be verified.

    Args:
        step: the delivery.
        before: what the node showed when the step was planned.
        payloads: of the plan.
    """
    given, carried = read_delivery(step), payloads.get(step.payload)
    wanted, plain = given.resources, given.plain()
    # The node may have moved to its new port, so that the undo would reach another server. A step with very
    # many changes lists only the place above them.
    pointers = {change.pointer for change in step.changes}
    moved = any(pointer == _PORT or _PORT.startswith(f"{pointer}/") for pointer in pointers)
    # Without the list of waiting fields, a reading cannot show whether they went back too.
    unverifiable = bool(given.restart) and before.waiting is None
    # The previous contents of changed files are unknown here.
    files_changed = bool(wanted) and (carried is None or has_files(before.held, wanted) is not True)
    if moved or unverifiable or files_changed:
        return None
    document = _mark_secrets(before, carried, step)
    resources = carried.resources if carried and wanted else {}
    if isinstance(given, OfferArguments):
        return _offer_again(step, given, document, resources, carried.document if carried else None)
    digest = fingerprint(
        [compute_redacted_digest(document, plain["resources"], step.node), "undo", step.node]
    )
    version = mask(hide_by_key("version", get_value(document, ("meta", "version"))))
    label = "" if version is None else make_one_line(str(version), LONGEST_NAME)
    # The node expects the part by the name in the setting that was delivered to it.
    part = get_value(carried.document, ("env", "management", "api", "multipartName")) if carried else None
    arguments = UploadArguments(
        bases=given.bases,
        addresses=given.addresses,
        before=given.after,
        after=given.before,
        restart=given.restart,
        resources=wanted,
        setting_version=version,
        timeout=given.timeout,
        connect=given.connect,
        uses=given.uses,
        returning=True,
        unmanaged=given.unmanaged,
        shown={"before": plain["after"], "after": plain["before"], "resources": plain["resources"]},
        payload=digest,
        part=part if isinstance(part, str) and part else PART,
        reports=isinstance(given, UploadArguments) and given.reports,
    )
    undo = replace(
        step,
        action="upload",
        arguments=arguments,
        reason=f"restores {f'version {label}' if label else 'the previous setting'}",
        needs="the node still shows what was delivered",
        inverse=Inverse("deliver the new setting again", "upload"),
        changes=(),
    )
    return undo, {digest: Payload(document, resources)}


def rebuild_offer(desired: M2Desired, offered: OfferedContent) -> Step | None:
    """The step of an offer, from the offer alone; None where the node does not poll, or it has no package."""
    entry, polling, node = desired.entry, desired.entry.polling, offered.offer.node
    if polling is None:
        return None
    try:
        package, former = read_package(offered.parts), read_package(offered.former)
        document, earlier = read_json(package.setting(), LIMITS), read_json(former.setting(), LIMITS)
        files = compute_digests(package.resources())
    except (UnreadableParts, JsonError):
        return None
    if not (isinstance(document, Mapping) and isinstance(earlier, Mapping)):
        return None
    fields = next((one.unmanaged for one in desired.targets if one.node == node), ())
    contents, id_ = ContentCache(unmanaged=fields), offered.offer.id
    # Without any of the contents, whose secrets are not known as such after the pass; the id is random.
    shown = {one: fingerprint([one, id_]) for one in ("before", "after")}
    bases = next((one.bases for one in desired.targets if one.node == node), ())
    arguments = OfferArguments(
        bases=bases,
        addresses=(urlsplit(bases[0]).hostname,) if bases else (),
        before=contents.of(earlier).fingerprint,
        after=contents.of(document).fingerprint,
        restart=(),
        resources=files,
        setting_version=mask(hide_by_key("version", get_value(document, ("meta", "version")))),
        timeout=entry.timeouts.read,
        connect=entry.timeouts.connect,
        shown={**shown, "resources": {path: fingerprint([path, id_]) for path in files}},
        payload=fingerprint(["offer", id_]),
        label=offered.offer.label,
        period=polling.every,
        fresh=polling.fresh_seconds,
        channel=write_feed_channel(document, entry.node_ids.get(node, "")),
        node_id=entry.node_ids.get(node, ""),
        unmanaged=tuple(make_pointer(pattern) for pattern in fields),
    )
    return Step(
        id=f"{entry.name}/{node}/offer",
        cluster=entry.name,
        node=node,
        action="offer",
        arguments=arguments,
        reason="an earlier run offered it",
        effect=Effect.HOT,
        risk=Risk.LOW,
        risk_reason="the node had this setting before",
        needs="the node still shows the setting that it had before",
        inverse=Inverse("offer the previous setting again", "offer"),
        settle=entry.timeouts.settle,
        in_flight=polling.overdue_seconds,
    )


def undo_offer(step: Step, offered: OfferedContent) -> tuple[Step, Mapping[str, Payload]] | None:
    """The offer of what a node had before another offer; None where that is not known."""
    given = read_delivery(step)
    if not isinstance(given, OfferArguments) or not offered.former:
        return None
    try:
        package, later = read_package(offered.former), read_package(offered.parts)
        document, rendered = read_json(package.setting(), LIMITS), read_json(later.setting(), LIMITS)
        resources = package.resources()
    except (UnreadableParts, JsonError):
        return None
    return _offer_again(step, given, hide_by_key("", document), resources, rendered)


def _offer_again(
    step: Step, given: OfferArguments, document: Any, resources: Mapping[str, bytes], rendered: Any
) -> tuple[Step, Mapping[str, Payload]] | None:
    """The offer of an earlier setting, with the feeds of the later one."""
    if not isinstance(document, Mapping) or not isinstance(rendered, Mapping):
        return None
    document, plain = carry_feeds(document, rendered), given.plain()
    version = get_value(document, ("meta", "version"))
    after = ContentCache(unmanaged=read_patterns(given.unmanaged)).of(document).fingerprint
    # Without any of its content, which has secrets that are not known as such after the pass.
    digest = fingerprint(["undo", plain["before"], plain["after"], plain["resources"], step.node])
    files = compute_digests(resources)
    shown = mask(hide_by_key("version", version))
    arguments = replace(
        given,
        before=given.after,
        after=after,
        resources=files,
        setting_version=shown,
        returning=True,
        checkout=False,
        # Where it listens with what it was given.
        channel=write_feed_channel(rendered, given.node_id),
        shown={
            "before": plain["after"],
            "after": plain["before"],
            # Not the digests of the files: which of them are encrypted in the source is not known any more.
            "resources": {path: fingerprint([path, digest]) for path in files},
        },
        payload=digest,
        # Only a stamp of this program stands for one content; a version of somebody's own may not.
        label=version if given.label and isinstance(version, str) and _STAMP.fullmatch(version) else "",
    )
    label = "" if shown is None else make_one_line(str(shown), LONGEST_NAME)
    undo = replace(
        step,
        action="offer",
        arguments=arguments,
        reason=f"restores {f'version {label}' if label else 'the previous setting'}",
        needs="the node still shows what was delivered",
        inverse=Inverse("offer the new setting again", "offer"),
        changes=(),
    )
    return undo, {digest: Payload(document, resources)}


def undo_partial_delivery(
    step: Step, before: LoadedSetting, payloads: Mapping[str, Payload], now: LoadedSetting
) -> tuple[Step, Mapping[str, Payload]] | None:
    """The upload that undoes the visible part of a delivery; None where no part is visible.

    Args:
        step: the delivery, whose result differs from what was sent.
        before: what the node showed when the step was planned.
        payloads: of the plan.
        now: what the node shows now.
    """
    carried, found = payloads.get(step.payload), undo_delivery(step, before, payloads)
    if carried is None or found is None:
        return None
    contents = ContentCache(unmanaged=read_patterns(read_delivery(step).unmanaged))
    missing = {change.pointer for change in find_changes(now.content, contents.of(carried.document))}
    if all(change.pointer in missing for change in step.changes):
        return None
    undo, needed = found
    # Judged from what the node shows now: what somebody else writes from here on is not overwritten.
    arguments = replace(read_delivery(undo), before=now.content.fingerprint)
    needs = "the node still shows the result of the delivery"
    return replace(undo, arguments=arguments, needs=needs), needed


def _mark_secrets(before: LoadedSetting, carried: Payload | None, step: Step) -> Any:
    """The setting that the node showed, with its secrets as `Secret`.

    A node shows them as plain text. They are found by the values and places of known secrets, so that plan
    and journal show masks.
    """
    # By value and by place: the node may have an earlier secret at a place where this revision has another.
    known = [secret.value for change in step.changes for _, secret in find_secrets(change.old)]
    known += [secret.value for _, secret in find_secrets(before.content.canonical)]
    paths = [path for path, _ in find_secrets(carried.document)] if carried else []
    known += [get_value(before.content.document, path) for path in paths]
    texts = {value for value in known if isinstance(value, str) and value}

    def mark_value(value: Any) -> Any:
        if isinstance(value, str):
            return Secret(value) if value in texts else value
        if isinstance(value, Mapping):
            return {key: mark_value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [mark_value(item) for item in value]
        return value

    return mark_value(before.content.document)
