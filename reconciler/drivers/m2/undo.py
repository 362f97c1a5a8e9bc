"""The way back from a delivery: what the node showed before is delivered again; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.core.canonical import fingerprint
from reconciler.core.plan import Inverse, Payload, Step
from reconciler.core.secret import Secret, find_secrets, mask
from reconciler.drivers.m2.arguments import UploadArguments, read_delivery
from reconciler.drivers.m2.changes import find_changes
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.judge import has_files
from reconciler.drivers.m2.redacted_fingerprints import compute_redacted_digest
from reconciler.drivers.m2.schema import LoadedSetting
from reconciler.drivers.m2.setting.diagnostics import get_value
from reconciler.secrets.redaction import hide_by_key
from reconciler.text.one_line import LONGEST_NAME, make_one_line

_PORT: Final = "/env/management/api/port"


def undo_delivery(
    step: Step, before: LoadedSetting, payloads: Mapping[str, Payload]
) -> tuple[Step, Mapping[str, Payload]] | None:
    """The upload that undoes a delivery; none where it could not be told, or not be done, for sure.

    There is none where the files beside the setting changed too (their old contents are not known here),
    where the node's port changes (it may have moved), and where fields wait for a restart that the node
    does not tell about.

    Args:
        step: the delivery.
        before: what the node showed when it was planned.
        payloads: of the plan.
    """
    given, carried = read_delivery(step), payloads.get(step.payload)
    wanted = given.resources
    # a step with very many changes tells those below one place together
    moved = any(place == _PORT or _PORT.startswith(f"{place}/") for place in _places(step))
    unseen = bool(given.restart) and before.waiting is None
    files = bool(wanted) and (carried is None or has_files(before.held, wanted) is not True)
    if moved or unseen or files:
        return None
    document = _hidden(before, carried, step)
    resources = carried.resources if carried and wanted else {}
    digest = fingerprint(
        [compute_redacted_digest(document, given.plain()["resources"], step.node), "undo", step.node]
    )
    shown = {"before": given.plain()["after"], "after": given.plain()["before"]}
    version = mask(hide_by_key("version", get_value(document, ("meta", "version"))))
    named = "" if version is None else make_one_line(str(version), LONGEST_NAME)
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
        shown={**shown, "resources": given.plain()["resources"]},
        payload=digest,
        part=_part(carried),
    )
    own = replace(
        step,
        action="upload",
        arguments=arguments,
        reason=f"gives back {f'version {named}' if named else 'the setting'} that it had",
        needs="the node still shows what was delivered",
        inverse=Inverse("deliver the new setting again", "upload"),
        changes=(),
    )
    return own, {digest: Payload(document, resources)}


def _places(step: Step) -> set[str]:
    return {change.pointer for change in step.changes}


def undo_partial_delivery(
    step: Step, before: LoadedSetting, payloads: Mapping[str, Payload], now: LoadedSetting
) -> tuple[Step, Mapping[str, Payload]] | None:
    """The upload that takes back what a node made of a delivery; none where nothing of it shows.

    Args:
        step: the delivery, which does not show as it should.
        before: what the node showed when it was planned.
        payloads: of the plan.
        now: what the node shows; what somebody else wrote is not overwritten.
    """
    carried, found = payloads.get(step.payload), undo_delivery(step, before, payloads)
    if carried is None or found is None:
        return None
    missing = {change.pointer for change in find_changes(now.content, ContentCache().of(carried.document))}
    if all(change.pointer in missing for change in step.changes):
        return None
    own, needed = found
    arguments = replace(read_delivery(own), before=now.content.fingerprint)
    return replace(
        own, arguments=arguments, needs="the node still shows what it made of the delivery"
    ), needed


def _part(carried: Payload | None) -> str:
    path = ("env", "management", "api", "multipartName")
    name = get_value(carried.document, path) if carried else None
    return name if isinstance(name, str) and name else "settingFile"


def _hidden(before: LoadedSetting, carried: Payload | None, step: Step) -> Any:
    """What the node showed, with its secrets marked as such: those known by their place or their value."""
    known = [secret.value for change in step.changes for _, secret in find_secrets(change.old)]
    known += [secret.value for _, secret in find_secrets(before.content.canonical)]
    places = [path for path, _ in find_secrets(carried.document)] if carried else []
    known += [get_value(before.content.document, path) for path in places]
    texts = {value for value in known if isinstance(value, str) and value}
    return _marked(before.content.document, texts)


def _marked(value: Any, texts: set[str]) -> Any:
    if isinstance(value, str):
        return Secret(value) if value in texts else value
    if isinstance(value, Mapping):
        return {key: _marked(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item, texts) for item in value]
    return value
