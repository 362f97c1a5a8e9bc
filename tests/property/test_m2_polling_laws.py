"""Laws of M2 nodes that poll: their tokens change nothing else, and their mail proves only what is so."""

from __future__ import annotations

import asyncio
import copy
import json

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.m2_polled import POLL, PolledNodes, token, tokens
from support.m2_wire import cluster_input, setting

from reconciler.core.entries import Polling
from reconciler.core.observation import Present, Stale
from reconciler.core.offers import OfferFeed
from reconciler.core.plan import Payload
from reconciler.core.secret import reveal
from reconciler.drivers.m2.central_server.offered_parts import write_package
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.feed_rendering import polls_here, render_feeds
from reconciler.drivers.m2.mail_evidence import EvidenceReader
from reconciler.drivers.m2.package import PackageCache
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.shared_contents import SharedContents
from reconciler.errors import InputError
from reconciler.ports.transport import OfferDraft

TOKEN = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", min_size=43, max_size=43)
TEXT = st.sampled_from(["", "a", "https://h/", "x/setting", "token-of-this-node", "*/5 * * * * *"])
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "enable",
                    "feed",
                    "feedback",
                    "info",
                    "url",
                    "type",
                    "schedule",
                    "timeout",
                    "uploadSetting",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
SERVERS = st.dictionaries(
    st.sampled_from(["enable", "features", "connection", "events"]),
    st.one_of(
        VALUE,
        st.dictionaries(st.sampled_from(["setting", "purge", "heartbeat", "nodelist"]), VALUE, max_size=4),
    ),
    max_size=4,
)


@given(SERVERS, TOKEN, TOKEN)
@settings(deadline=None, max_examples=200)
def test_filled_urls_mean_the_same_as_if_they_stood_in_the_file(server, one, other):
    where = cluster_input(setting(env__management__server=server), deliver="poll", poll=POLL)
    assert {one.code for one in DRIVER.lint(where)} <= DRIVER.lint_codes
    try:
        desired = DRIVER.desire(where)
    except InputError:
        assume(False)
    for own in (one, other):
        given_tokens = tokens("edge-01")
        given_tokens["edge-01"] = type(given_tokens["edge-01"])(type(given_tokens["edge-01"].current)(own))
        (target,) = DRIVER.assign_tokens(desired, given_tokens).targets
        document = reveal(target.content.document)
        again = ContentCache().of(document)
        assert (again.fingerprint, again.fingerprints) == (
            target.content.fingerprint,
            target.content.fingerprints,
        )
        assert again.unstamped == target.content.unstamped
        assert polls_here(again, where.entry.polling, given_tokens["edge-01"])
        assert own in json.dumps(document)
        read = SharedContents(ContentCache()).read(json.dumps(document).encode())
        assert read.fingerprint == again.fingerprint


@given(SERVERS, st.text(max_size=5))
@settings(deadline=None, max_examples=200)
def test_rendering_is_total_idempotent_and_leaves_the_file_alone(server, text):
    document = {"env": {"management": {"server": server, "x": text}}}
    before, polling = copy.deepcopy(document), Polling.model_validate(POLL)
    once = render_feeds(document, polling)
    assert document == before
    assert render_feeds(once, polling) == once
    assert once["env"]["management"]["x"] == text


@given(VALUE, SERVERS, TOKEN, st.sampled_from(["/{}/setting", "{}", "/{}/setting/{}"]))
@settings(deadline=None, max_examples=300)
def test_a_token_anywhere_changes_nothing_about_how_a_body_is_read(value, server, own, form):
    text = form.replace("{}", own)
    document = {"env": {"management": {"server": server}, "x": value}, "functions": [text, {text: 1}]}
    for part in (document, {**document, "functions": None}, {"env": {"a": text, "b": [text]}}):
        body = json.dumps(part).encode()
        shared = SharedContents(ContentCache())
        # Twice, as for a second node: the second reading finds what the first one has left.
        assert {shared.read(body).fingerprint for _ in range(2)} == {ContentCache().read(body).fingerprint}


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["offer", "reoffer", "poll", "poll", "load", "silent", "fail", "edit", "tell", "wait"]
        ),
        st.integers(0, 4),
    ),
    max_size=25,
)


@given(EVENTS, st.booleans())
@settings(deadline=None, max_examples=400)
def test_mail_never_proves_a_setting_that_the_node_did_not_have_then(events, stamped):
    """Whatever is offered, taken, failed, edited by hand or lost: what counts as shown was loaded then.

    An edit by hand reports itself, or has another version than any that was stamped here.
    """
    asyncio.run(_follow(events, stamped=stamped))


async def _follow(events, *, stamped):
    mailbox, reader = PolledNodes(), EvidenceReader(60, SharedContents(ContentCache()), resources=True)
    node, history = mailbox.node("n"), []
    mailbox.edit("n", _document("1", "first"))
    history.append((0, ContentCache().of(node.setting).fingerprint))
    mailbox.later(6)
    player = _Player(mailbox, stamped=stamped)
    seen = None
    for number, (event, choice) in enumerate(events):
        # Nothing is offered to a node that does not show what it has.
        if event in {"offer", "reoffer"} and not isinstance(seen, Present):
            continue
        await player.play(event, choice, number)
        history.append((mailbox.now, ContentCache().of(node.setting).fingerprint))
        mailbox.later(6)  # calls of one node do not cross
        seen = reader.read(await mailbox.read_mail("c", "n"))
        if isinstance(seen, Present | Stale):
            at = mailbox.now - seen.age
            loaded = [shown for when, shown in history if when <= at + 1e-6][-1]
            assert seen.value.content.fingerprint == loaded, (event, choice, seen)
            assert isinstance(seen, Stale) == (seen.age > 60 or bool(seen.value.doubt))


class _Player:
    """Does what one event says, where it is possible."""

    labels = ("c0ffee1", "decade2", "facade3", "1", "1")

    def __init__(self, mailbox, *, stamped):
        self.mailbox, self.stamped, self.cache, self.ended = mailbox, stamped, PackageCache(), set()

    async def play(self, event, choice, number):
        mailbox, node = self.mailbox, self.mailbox.node("n")
        match event:
            case "offer" | "reoffer":
                # The same version for another content, as after a secret was rotated.
                await self._offer(
                    choice, f"content {choice}" + (f" of {number}" if event == "reoffer" else "")
                )
            case "poll":
                mailbox.poll("n")
            case "load" | "silent" | "fail" if self._may_load(node):
                self.ended.add(node.offers[0][0].id)
                failing = {"status": "no", "upload": choice % 2 == 0, "userdata": choice < 2}
                mailbox.load("n", **(failing if event == "fail" else {"report": event == "load"}))
            case "edit":
                has_report = choice < 3
                version = self.labels[choice] if has_report else f"by hand {number}"
                mailbox.edit("n", _document(version, f"hand {number}"), report=has_report)
            case "tell":
                mailbox.tell("n")
            case "wait":
                mailbox.later((1, 10, 15, 40, 90)[choice])

    def _may_load(self, node):
        """A node loads what it took once, within the time for which reports are fresh."""
        if not node.offers or node.offers[0][4] is None or node.offers[0][0].id in self.ended:
            return False
        return node.offers[0][4] > self.mailbox.now - 55

    async def _offer(self, choice, body):
        await self.mailbox.offer(
            OfferDraft(
                cluster="c",
                node="n",
                feed=OfferFeed.SETTING,
                step="c/n/offer",
                parts=write_package(Payload(_document(self.labels[choice], body)), self.cache),
                label=self.labels[choice] if self.stamped and choice < 3 else "",
                content=body,
                seconds=600,
            )
        )


def _document(version, body):
    return {"meta": {"version": version}, "env": {"network": {}}, "functions": {"body": body}}


def test_the_token_of_a_test_looks_like_one():
    assert len(token("edge-01")) == 43
