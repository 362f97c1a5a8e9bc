"""The mailbox over the store: offers belong to a run and end with its window, readings are joined."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from support.offers import NOON, make_draft

from reconciler.core.offers import OfferFeed
from reconciler.errors import NodeUnreachable, StateError
from reconciler.ports.node_store import CallRecord
from reconciler.ports.transport import NodeMail
from reconciler.store.factory import open_store
from reconciler.transports.mailbox import MailReader, StoreMailbox


class CountingReader:
    """A store that counts readings."""

    def __init__(self, failure=None):
        self.asked = []
        self.failure = failure

    async def mail(self, cluster, nodes):
        self.asked.append((cluster, list(nodes)))
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return {node: NodeMail(heard=float(len(node))) for node in nodes}


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, clock=lambda: NOON) as opened:
        yield opened.select_fleet(1)


async def test_an_offer_is_that_of_the_run_and_what_a_node_sent_is_read_with_it(store):
    mailbox = StoreMailbox(store, "run-1", "rev-1", clock=lambda: NOON)
    text = await mailbox.offer(make_draft("a", b"new"))
    await store.record_calls([CallRecord(fleet=1, cluster="c", node="a", at=NOON, feed=OfferFeed.SETTING)])
    mail = await mailbox.read_mail("c", "a")
    (offered,) = mail.offers
    assert (offered.offer.run, offered.offer.revision, offered.parts) == ("run-1", "rev-1", (b"new",))
    assert text == f"offer {offered.offer.id} from 2026-11-21 12:00:00 until 2026-11-21 12:01:00 UTC"
    assert mail.heard == 0.0


@pytest.mark.parametrize(("window", "seconds"), [(30, 30), (90, 60), (-5, -5)])
async def test_an_offer_ends_with_its_window(store, window, seconds):
    mailbox = StoreMailbox(store, "r", "v", NOON + timedelta(seconds=window), clock=lambda: NOON)
    await mailbox.offer(replace(make_draft("a"), period=1_000.0))
    offer = (await mailbox.read_mail("c", "a")).offers[0].offer
    assert offer.closes == NOON + timedelta(seconds=seconds)
    assert NOON <= offer.opens < max(offer.closes, NOON + timedelta(microseconds=1))
    assert offer.is_visible(offer.opens) is (seconds > 0)


async def test_nodes_that_are_asked_for_together_are_read_together():
    reader = CountingReader()
    mailbox = MailReader(reader)
    names = [f"n{'x' * (number % 7)}{number}" for number in range(450)]
    mails = await asyncio.gather(
        *(mailbox.read_mail("c", name) for name in names), mailbox.read_mail("d", "a")
    )
    assert [mail.heard for mail in mails] == [float(len(name)) for name in (*names, "a")]
    assert sorted(len(nodes) for _, nodes in reader.asked) == [1, 50, 200, 200]
    assert (await mailbox.read_mail("c", "later")).heard == 5.0


async def test_one_that_is_cancelled_does_not_end_the_reading_of_the_others():
    mailbox = MailReader(CountingReader())
    first = asyncio.create_task(mailbox.read_mail("c", "a"))
    second = asyncio.create_task(mailbox.read_mail("c", "b"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).heard == 1.0
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_state_that_cannot_be_used_is_a_node_that_cannot_be_reached(store):
    mailbox = MailReader(CountingReader(StateError("the disk is full")))
    ends = await asyncio.gather(*(mailbox.read_mail("c", name) for name in "ab"), return_exceptions=True)
    assert [str(end) for end in ends] == [
        "a: its mail cannot be read: the disk is full",
        "b: its mail cannot be read: the disk is full",
    ]
    with pytest.raises(NodeUnreachable, match="only reads"):
        await mailbox.offer(make_draft("a"))
    broken = StoreMailbox(store, "r", "v", clock=lambda: NOON)
    with pytest.raises(NodeUnreachable, match="the offer may not be stored"):
        await broken.offer(replace(make_draft("a"), step="\ud800"))
