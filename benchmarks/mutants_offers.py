"""Faults in how nodes that poll are answered, in what their mail proves, and in a rollout of offers."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

from mutation import Mutant, edit
from scenes import polled

from reconciler.core import offers
from reconciler.core.wave_state import WaveState
from reconciler.drivers.m2 import guards as m2_guards
from reconciler.drivers.m2 import mail_evidence
from reconciler.modelcheck import offer_nodes
from reconciler.modelcheck.offer_model import OfferModel
from reconciler.modelcheck.offer_pass import OfferPass
from reconciler.modelcheck.offer_state import OfferRules

ONE = polled()
COMMIT = polled(commits=1)
FAULT = polled(faults=1)
STAMPED = polled(faults=1, stamped=True)
SUSPENDED = polled(suspensions=1)
KILLED = polled(faults=1, kills=1)
TWO = polled(nodes=2, rules=OfferRules((2,), interleaves=False))
RACE = polled(commits=1, rules=OfferRules((1,)))
RACE_STAMPED = polled(commits=1, stamped=True, rules=OfferRules((1,)))
GONE = polled(extra={"env": {"management": {"server": {"enable": False}}}})

OFFERS = (
    Mutant(
        "answer to a poll: an offer has its time",
        "it never ends",
        edit(offers.Offer.is_visible, " and self.opens <= now < self.closes", ""),
        ONE,
    ),
    Mutant(
        "answer to a poll: withdrawn is withdrawn",
        "it is served all the same",
        edit(offers.Offer.is_visible, "not self.withdrawn and ", ""),
        COMMIT,
    ),
    Mutant(
        "answer to a poll: nothing new on hold",
        "a suspension hides nothing",
        edit(offers.decide_poll, " and (current.taken is not None or not is_held)", ""),
        SUSPENDED,
    ),
    Mutant(
        "answer to a poll: what was taken is not repeated",
        "off by one",
        edit(offers.decide_poll, "asked < offer.last_modified", "asked <= offer.last_modified"),
        ONE,
    ),
    Mutant(
        "answer to a poll: an absurd date keeps nothing from a node",
        "it is followed",
        edit(offers.decide_poll, "offer.taken is None if is_absurd else ", ""),
        FAULT,
    ),
    Mutant(
        "date of an offer: later than those before",
        "the same",
        edit(offers.choose_last_modified, "earlier + SECOND", "earlier"),
        FAULT,
    ),
    Mutant(
        "date of an offer: later than what the node has sent",
        "the node's date does not count",
        edit(offers.choose_last_modified, "asked is not None and asked <= now + FUTURE", "False"),
        FAULT,
    ),
    Mutant(
        "evidence: what is out of date shows nothing",
        "gone",
        edit(mail_evidence.EvidenceReader.read, "age, self.fresh, what", "0.0, self.fresh, what"),
        ONE,
    ),
    Mutant(
        "evidence: a version is shown by polls",
        "an offer that was taken counts as loaded",
        edit(
            mail_evidence._is_shown,
            "offered.taken_age is None or not offered.is_label_unique or offered.offer.label != label.text",
            "offered.taken_age is None",
        ),
        STAMPED,
    ),
    Mutant(
        "wave: it waits for its nodes",
        "it does not",
        edit(WaveState.can_close.fget, "if self.waiting or self.unsent:", "if False:"),
        TWO,
    ),
    Mutant(
        "wave: as many unknown ones as allowed",
        "any number",
        edit(WaveState.can_close.fget, "len(self.unknown) <= self.allowed", "True"),
        TWO,
    ),
    Mutant(
        "guard lost-polling",
        "gone",
        edit(m2_guards.refuse_lost_polling, "if not polls_here(", "if False and not polls_here("),
        GONE,
        (edit(m2_guards.refuse_feed_detachment, "if not isinstance(answer, Present):", "if True:"),),
        "guard feed-detached of another origin",
    ),
    Mutant(
        "rollout of offers: done is what a reading shows",
        "an offer that was taken counts as done",
        edit(OfferPass._settle_node, "verdict.status is StepStatus.DONE", "True"),
        ONE,
    ),
    Mutant(
        "rollout of offers: a wave waits for what it offered",
        "gone",
        edit(OfferPass._close_wave, "now.waits or ", ""),
        ONE,
    ),
    Mutant(
        "rollout of offers: a newer revision withdraws older offers",
        "gone",
        edit(OfferPass._withdraw_superseded, "withdraw_untaken(state.nodes, now.superseded)", "state.nodes"),
        COMMIT,
    ),
    Mutant(
        "rollout of offers: a newer revision withdraws older offers",
        "not those of silent nodes",
        edit(OfferPass._read_node, "has_content or is_outdated or", "has_content or"),
        RACE,
    ),
    Mutant(
        "rollout of offers: an offer of what a node has is withdrawn",
        "gone",
        edit(offer_nodes.withdraw_needless, "if newest is None or", "if True or"),
        RACE_STAMPED,
    ),
    Mutant(
        "rollout of offers: what is to do for a failed wave is stored with the rejection",
        "it is only in memory",
        edit(OfferModel.moves, "kills=state.kills - 1)", "kills=state.kills - 1, owed=None)"),
        KILLED,
    ),
    Mutant(
        "rollout of offers: a failed wave goes back",
        "no node does",
        edit(OfferPass._end_wave, "if self._rules.returns and", "if False and"),
        FAULT,
    ),
    Mutant(
        "rollout of offers: a rejected revision is not planned again",
        "gone",
        edit(OfferPass._plan, "if now.revision in state.rejected:", "if False:"),
        FAULT,
    ),
)
