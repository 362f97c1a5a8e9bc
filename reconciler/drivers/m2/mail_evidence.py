"""What the mail of a node that polls proves about the setting it has loaded; pure.

In this order:

1. The newest setting that the node reported, as long as its polls show that version since.
2. The version that its polls show, where this program stamped it into one content only, at this node, and
   the node showed another one when it took that content.

A node that is told by a message bus does not poll: what proves its version are its reports and heartbeats, by
its own URL or on a channel of its own.

Of both, the newer one counts. Nothing else is evidence: people own `meta.version`, and may use one value for
many settings, or one value always. What is older than the node's period of freshness is out of date: nothing
is planned on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reconciler.core.arguments import NO_FEEDBACK, StepFeedback
from reconciler.core.canonical import fingerprint
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.core.observation import (
    Liveness,
    Observation,
    Present,
    Stale,
    Unreachable,
    classify_by_age,
)
from reconciler.core.plan import Payload
from reconciler.drivers.m2.central_server.mail_secrets import (
    LateRedactor,
    MailRedactors,
)
from reconciler.drivers.m2.central_server.offered_parts import UnreadableParts, read_checkout, read_package
from reconciler.drivers.m2.central_server.reported_identity import read_identity
from reconciler.drivers.m2.content import ContentTooLarge
from reconciler.drivers.m2.evidence import DocumentKind, classify_document
from reconciler.drivers.m2.feed_topology import write_feed_channel
from reconciler.drivers.m2.package import compute_digests
from reconciler.drivers.m2.risk import find_restart_fields
from reconciler.drivers.m2.schema import Content, FailedOffer, LoadedSetting
from reconciler.drivers.m2.setting.diagnostics import get_items, get_object, get_value
from reconciler.drivers.m2.shared_contents import SharedContents
from reconciler.ports.transport import MailItem, NodeLabel, NodeMail, OfferedContent
from reconciler.text.http_dates import parse_http_date
from reconciler.text.numbers import normalise_whole
from reconciler.text.one_line import LONGEST_NAME, LONGEST_SENTENCE, MOST_QUOTED

_FEEDBACK: Final = "setting.feedback"
_HEARTBEAT: Final = "heartbeat.feedback"

_LIMITS: Final = JsonLimits(size=16 * 1024 * 1024, values=1_000_000)
"""Of a report, which was within them when it arrived."""

_CROSSING: Final = 5.0
"""Seconds by which a poll may arrive after a report that the node sent later."""

_BOOTUP: Final = "/_sys_/bootup"
"""Event of a report at the start of the node: then nothing waits for a restart."""


_TAKEN_SINCE: Final = (
    "it took an offer that it has not reported about, and its version does not show whether it has loaded it"
)


@dataclass(frozen=True, slots=True)
class _Proof:
    """A setting that a node had.

    Args:
        age: seconds since it was shown to have it.
        doubt: why it may have another one by now; empty for none.
        report_age: seconds since the node itself showed the whole setting; None if only an offer has it.
    """

    content: Content
    age: float
    doubt: str = ""
    report_age: float | None = None


@dataclass(frozen=True, slots=True)
class EvidenceReader:
    """Reads the mail of the nodes of one cluster.

    Args:
        fresh: seconds up to which the last call of a node may be old for what it sent to count.
        contents: what other nodes showed.
        resources: whether the files beside the setting matter.
        identity: whether what the node says of itself matters, for messages about its step.
    """

    fresh: float
    contents: SharedContents
    resources: bool
    identity: bool = False
    redactors: MailRedactors = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "redactors", MailRedactors(self.contents))

    def read(self, mail: NodeMail) -> Observation[LoadedSetting]:
        """What a node has loaded, as far as its mail proves it."""
        if mail.heard is None:
            return Unreachable("it has never called", Liveness.UNASKED)
        # What the node quotes may be a secret of its own setting, which nobody else knows as such.
        mail = replace(mail, redactors=(*mail.redactors, LateRedactor(mail, self.redactors)))
        report = _read_report(mail)
        try:
            found = self._read_proof(mail)
        except ContentTooLarge as error:
            return Unreachable(str(error), Liveness.ALIVE)
        if found is None:
            return _make_unproven(mail, self.fresh)
        content, age, doubt = found.content, found.age, found.doubt
        is_recent = found.report_age is not None and found.report_age <= self.fresh
        said, step = _read_said(mail, report) if self.identity else (NO_FEEDBACK, "")
        waiting, running = self._find_waiting(mail, report, content)
        loaded = LoadedSetting(
            content,
            waiting=waiting,
            running=running,
            held=self._read_files(mail, content, report) if self.resources else None,
            failed=self._read_failure(mail, report),
            reported=said,
            reported_step=step,
            doubt=doubt,
            own=content if is_recent else None,
        )
        if doubt:
            return Stale(loaded, doubt, age)
        return classify_by_age(loaded, age, self.fresh, what="what shows its setting", ahead=_CROSSING)

    def _find_waiting(
        self, mail: NodeMail, report: Mapping[str, Any], content: Content
    ) -> tuple[tuple[str, ...] | None, Content | None]:
        """What waits for a restart, and the setting in effect where that is another one; None if unknown."""
        named = _read_waiting(mail, report)
        if named is None or mail.content is None:
            return None, None
        reported = self._read_content(mail.content.body)
        if reported is None or reported.fingerprint == content.fingerprint:
            return named, None
        # Its report about the present setting was lost, and a node does not repeat one. What it used when it
        # reported last, it still uses: a start would be a report, too. If that was lost as well, the node is
        # restarted once more than needed, which its next report ends.
        fields = dict.fromkeys((*named, *find_restart_fields(reported, content)))
        return tuple(fields), reported

    def _read_proof(self, mail: NodeMail) -> _Proof | None:
        reported = self._read_reported(mail)
        offered = self._read_labelled(mail)
        if reported is None or offered is None:
            return reported or offered
        taken = min((one.taken_age for one in mail.offers if one.taken_age is not None), default=None)
        # A report after the download is what the node has loaded by its own words, also where somebody edited
        # it by hand and left the version as it was.
        assert mail.content is not None
        return reported if taken is None or mail.content.age <= taken else offered

    def _read_reported(self, mail: NodeMail) -> _Proof | None:
        content = self._read_content(mail.content.body) if mail.content is not None else None
        if mail.content is None or content is None:
            return None
        age, label = mail.content.age, mail.label
        if write_feed_channel(content.document):
            return self._read_told(mail, content, age)
        if label is None or label.age >= age - _CROSSING:
            return _Proof(content, age, report_age=age)
        # Without a word of the node about another setting, the polls show whether it still has this one.
        changed = label.other_age is not None and label.other_age < age - _CROSSING
        if changed or label.text != _format_version(content):
            return None
        for one in mail.offers:
            if self._may_follow(one, mail, age) and self._may_show(one, content, label.text):
                return _Proof(content, age, _TAKEN_SINCE)
        return _Proof(content, label.age, report_age=age)

    def _read_told(self, mail: NodeMail, content: Content, age: float) -> _Proof | None:
        """What a node has that is told by a message bus, and so does not poll: it reports each load.

        What it says of itself between its reports shows that it lives, and mostly its version. Some nodes say
        the same whatever they have loaded: then a version proves nothing, and its change everything.
        """
        label, version = mail.label, _format_version(content)
        is_shown = label is not None and label.text == version and label.age < age + _CROSSING
        changed = label is not None and label.other_age is not None and label.other_age < age - _CROSSING
        if changed and not is_shown:
            return None  # it said another version after its report
        for one in mail.offers:
            if not self._may_follow(one, mail, age):
                continue
            if self._may_show(one, content, version) if is_shown else self._is_other(one, content):
                return _Proof(content, age, _TAKEN_SINCE)
        alive = age if mail.heard is None else min(age, mail.heard)
        return _Proof(content, alive, report_age=age)

    def _is_other(self, offered: OfferedContent, content: Content) -> bool:
        """Whether an offer has another setting than this."""
        expected = read_checkout(offered.parts)
        if expected is not None:
            return expected != content.fingerprint
        other = self._read_offered(offered)
        return other is None or other.fingerprint != content.fingerprint

    def _may_follow(self, offered: OfferedContent, mail: NodeMail, age: float) -> bool:
        """Whether a node may have loaded an offer after the report that is so many seconds old."""
        if offered.taken_age is None:
            return False
        # A download takes its time, and somebody may have changed the setting meanwhile.
        has_ended = _is_about(_read_item(offered.report) or _read_report(mail), offered)
        return offered.taken_age < age + (0 if has_ended else self.fresh)

    def _may_show(self, offered: OfferedContent, content: Content, label: str) -> bool:
        """Whether a node that loaded an offer silently would show the same version of another content."""
        expected = read_checkout(offered.parts)
        if expected is not None:
            return expected != content.fingerprint
        other = self._read_offered(offered)
        return other is None or (other.fingerprint != content.fingerprint and _format_version(other) == label)

    def _read_labelled(self, mail: NodeMail) -> _Proof | None:
        for one in mail.offers:
            if mail.label is not None and _is_shown(one, mail.label):
                content = self._read_offered(one)
                return _Proof(content, mail.label.age) if content is not None else None
        return None

    def _read_offered(self, offered: OfferedContent) -> Content | None:
        """The setting in an offer; None where this host cannot read it."""
        try:
            return self._read_content(read_package(offered.parts).setting())
        except UnreadableParts:
            return None

    def _read_content(self, body: bytes) -> Content | None:
        """A setting; None where it is none."""
        try:
            content = self.contents.read(body)
        except ContentTooLarge:
            raise
        except ValueError:
            return None
        return None if classify_document(content.document) is DocumentKind.OTHER else content

    def _read_files(
        self, mail: NodeMail, content: Content, report: Mapping[str, Any]
    ) -> Mapping[str, str] | None:
        """Path -> SHA-256 of the files that came with this content; None where nothing proves them."""
        # That an offer was taken proves nothing: a node remembers its date as soon as the feed is answered,
        # and may fail to download or to load it. The label stands for the setting with its files, and so does
        # a report that ties its success to the offer.
        for one in mail.offers:
            by_label = mail.label is not None and _is_shown(one, mail.label)
            own = _read_item(one.report) or report
            by_report = _is_about(own, one) and _has_succeeded(own)
            if one.taken_age is None or not (by_label or by_report):
                continue
            try:
                package = read_package(one.parts)
                offered = self._read_content(package.setting())
                if offered is not None and offered.fingerprint == content.fingerprint:
                    return compute_digests(package.resources())
            except UnreadableParts:
                continue
        return None

    def _read_failure(self, mail: NodeMail, report: Mapping[str, Any]) -> FailedOffer | None:
        """The newest offer, where the node reported that it failed to load it."""
        if not mail.offers:
            return None
        # The report about this offer, also if the node was restarted since and has reported that.
        report = _read_item(mail.offers[0].report) or report
        if not _is_about(report, mail.offers[0]) or _has_succeeded(report):
            return None
        offered = read_checkout(mail.offers[0].parts)
        if offered is None:
            content = self._read_offered(mail.offers[0])
            offered = content.fingerprint if content is not None else ""
        if not offered:
            return None
        status = _get_result(report).get("status")
        reason = mail.redact(str(status or "it gave no reason"), LONGEST_SENTENCE)
        return FailedOffer(offered, reason)

    def find_parts(self, mail: NodeMail, before: str, payload: Payload) -> Payload | tuple[bytes, ...]:
        """What the node has now, to offer it again later; the parts of its own offer where they are known.

        Args:
            mail: of the node.
            before: fingerprint of the setting that it is known to have.
            payload: what it is to get.
        """
        for one in mail.offers:
            content = self._read_offered(one) if one.taken_age is not None else None
            if content is not None and content.fingerprint == before:
                return one.parts
        found = self.read(mail)
        # Of a setting that did not come from here, the files beside it are unknown.
        if not isinstance(found, Present) or found.value.content.fingerprint != before or payload.resources:
            return ()
        return Payload(found.value.content.document)


def fingerprint_label_content(content: str, resources: Mapping[str, str]) -> str:
    """What a stamp stands for: the setting and the files that come with it."""
    return fingerprint([content, dict(resources)])


def _format_version(content: Content) -> str:
    """The version of a setting as the header of a poll has it."""
    version = get_value(content.document, ("meta", "version"))
    if isinstance(version, int | float) and not isinstance(version, bool):
        return str(normalise_whole(version))
    return version if isinstance(version, str) else ""


def _is_shown(offered: OfferedContent, label: NodeLabel) -> bool:
    """Whether the version that a node shows proves that it has loaded an offer."""
    if offered.taken_age is None or not offered.is_label_unique or offered.offer.label != label.text:
        return False
    # The version came with the offer: the poll that took it, or a later one, still showed another. A node
    # that showed this version before got it elsewhere, perhaps from somebody's edit of an earlier setting.
    return label.other_age is not None and label.other_age <= offered.taken_age


def _make_unproven(mail: NodeMail, fresh: float) -> Unreachable:
    assert mail.heard is not None
    if mail.heard > fresh:
        return Unreachable(f"it has not called for {mail.heard:.0f} s, and what it has loaded is not known")
    shown = ""
    if mail.label is not None and mail.label.text:
        version = mail.redact(mail.label.text, MOST_QUOTED)
        shown = f": its version {version} is not a stamp for one content only"
    reason = f"it calls, but what it has loaded is not known{shown}, and it has reported no such setting"
    return Unreachable(reason, Liveness.ALIVE)


def _read_said(mail: NodeMail, report: Mapping[str, Any]) -> tuple[StepFeedback, str]:
    """What the node says of itself, and the step of whose offer its report has the result."""
    is_about = bool(mail.offers) and _is_about(report, mail.offers[0])
    said = read_identity(report or _read_report(mail, _HEARTBEAT), is_about_step=is_about)
    masked = said.redact(lambda text: mail.redact(text, LONGEST_NAME))
    return masked, mail.offers[0].offer.step if is_about else ""


def add_reported(
    loaded: LoadedSetting, mail: NodeMail, step: str, label: str, redactors: MailRedactors
) -> LoadedSetting:
    """What a node that is called showed, with what its reports say of the node.

    Its setting is what it showed: a report proves nothing beside a reading. A report is about the step only
    if it has the stamp that the step delivers: a direct call has neither `userdata` nor a date.

    Args:
        loaded: from a reading.
        mail: of the node.
        step: id of the step that was judged.
        label: its stamp; empty if it has none.
        redactors: of the settings that nodes showed.
    """
    report = _read_report(mail)
    version = _get_result(report).get("version")
    is_about = bool(label) and version is not None and str(version) == label
    said = read_identity(report or _read_report(mail, _HEARTBEAT), is_about_step=is_about)
    mail = replace(mail, redactors=(*mail.redactors, redactors.take_setting(loaded.content)))
    # The setting came with the call itself, and not from a URL that the node may name.
    masked = replace(said, url="").redact(lambda text: mail.redact(text, LONGEST_NAME))
    return replace(loaded, reported=masked, reported_step=step if is_about else "")


def _read_report(mail: NodeMail, kind: str = _FEEDBACK) -> Mapping[str, Any]:
    """The newest report of a kind, without the setting; empty where there is none."""
    return _read_item(mail.items.get(kind))


def _read_item(item: MailItem | None) -> Mapping[str, Any]:
    if item is None:
        return {}
    try:
        found = read_json(item.body, _LIMITS)
    except JsonError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _get_result(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """The last result in a report: a feed of this program has one package only."""
    results = [get_object(item, "result") for _, item in get_items(report, "parameters")]
    return next((one for one in reversed(results) if one), {})


def _has_succeeded(report: Mapping[str, Any]) -> bool:
    return str(_get_result(report).get("status", "")).casefold() == "ok"


def _is_about(report: Mapping[str, Any], offered: OfferedContent) -> bool:
    """Whether a report is about this very offer: by its `userdata`, or else by the date of the content."""
    if not _get_result(report):
        return False
    named = get_value(report, ("userdata", "offer"))
    if named is not None:
        return bool(named == offered.offer.id)
    date = parse_http_date(str(_get_result(report).get("lastModified") or ""))
    return date is not None and date == offered.offer.last_modified


def _read_waiting(mail: NodeMail, report: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Fields that wait for a restart, as the newest report names them; None where it says nothing of this."""
    item = mail.items.get(_FEEDBACK)
    if item is None or mail.content is None or abs(item.age - mail.content.age) > _CROSSING:
        return None
    if get_value(report, ("action", "event")) == _BOOTUP:
        return ()
    if not _has_succeeded(report):
        return None
    named = (get_object(one).get("field") for _, one in get_items(_get_result(report), "notupdated"))
    return tuple(mail.redact(name, LONGEST_NAME) for name in named if isinstance(name, str))
