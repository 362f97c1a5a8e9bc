"""Faults in Sora's guards, rules and judgements, each with the scene in which it shows."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

import scenes
from mutation import Mutant, edit
from scenes import regular, sora

from reconciler.drivers.sora import guards, init_evidence, judge, preconditions, stop_proof
from reconciler.drivers.sora.cluster_view import find_node_addresses, select_lists
from reconciler.drivers.sora.history import ClusterPast
from reconciler.drivers.sora.membership_plan import MembershipPlan
from reconciler.drivers.sora.node_actions import NodeActions

RISKY = "planner and judgement"
ANY_REGISTER = edit(preconditions.find_register_obstacle, "if has_majority(half):", "if True:")
ANY_STOP = edit(preconditions.find_stop_obstacle, "if not has_majority(state):", 'return ""\n    if False:')
NO_ORDER = edit(MembershipPlan._make_context, 'self.steps[-1].id if self.steps else ""', '""')
ANY_PURGE = edit(guards.refuse_purge_of_live_node, 'step.action != "purge" or', "True or")
NONE_TO_SPARE = edit(guards.refuse_missing_reserve, "left >= preconditions.SPARE", "True")
ANY_MEMBERSHIP = edit(
    judge._judge_removal,
    "membership != own.before or not cluster_view.is_agreed",
    "membership is None or target not in membership.names",
)
CUT_OFF_IS_DEAD = edit(
    NodeActions._check_unwanted,
    "if proof.proof in {StopProof.SEEN, StopProof.ANSWERS}:",
    """if self.cluster_view.has_enough_views:
        self.dead.append(name)
    elif proof.proof in {StopProof.SEEN, StopProof.ANSWERS}:""",
)
PURGE_UNSEEN = edit(judge._judge_purge, "if not proof.enough(word=bool(word.until)):", "if False:")
RASH_FOUNDING = edit(
    init_evidence.find_init_confirmation,
    "if outcome is InitDecision.INITIALISE:",
    "if outcome is not InitDecision.UNREACHABLE:",
)
INIT_UNSEEN = edit(judge._judge_confirmation, "if outcome.allowed and not", "if True or not")
BLIND_TO_EARLIER = edit(find_node_addresses, "*listed, *history.nodes}", "*listed}")
NONE_REQUIRED = edit(init_evidence._find_unanswered, "if one.required and", "if False and")

ONE_AWAY = sora(regular(4, outside=[3], down=[2]), (0, 1, 2, 3))
THREE_OF_FOUR = sora(regular(4, down=[3]), (0, 1, 3))
FOUR_TO_THREE = sora(regular(4), (0, 1, 2))
FIVE_ONE_DOWN = sora(regular(5, down=[4]), (0, 1, 2, 4))
FIVE_TO_THREE = sora(regular(5), range(3), at_once=2)
THREE_TO_TWO = sora(regular(3, down=[2]), (0, 1))
CUT_OFF = sora(scenes.cut_off(regular(5), 4), range(4), choices=scenes.PERMISSIVE)
NEW_AND_OLD = sora(scenes.cut_off(regular(5, outside=[3, 4]), 0), (0, 3, 4), choices=scenes.PERMISSIVE)
ONE_MORE = sora(regular(4, outside=[3]), range(4), faults=2)
ONE_LESS = sora(regular(5), range(4), faults=2)
DEAD = sora(regular(5, down=[4]), range(4), choices=scenes.PERMISSIVE)
UNKNOWN = sora(scenes.cut_off(regular(5), 4), range(4), choices=scenes.PERMISSIVE, hidden=(4,))
REPLACED = sora(regular(6, outside=[3, 4, 5]), (3, 4, 5), named=(0, 1, 2), faults=1)
DIED = sora(regular(6, outside=[3, 4, 5], down=[0, 1, 2]), (3, 4, 5), named=(0, 1, 2))
REMEMBERED = sora(regular(6, outside=[3, 4, 5], down=[0, 1, 2]), (3, 4, 5), members=(0, 1, 2))
APART = sora(scenes.apart(regular(3)), range(3), choices=scenes.MUTE)
SAID_TO_BE_GONE = sora(scenes.apart(regular(3)), range(3), choices=scenes.MUTE, collapsed=True)
REBUILT = sora(regular(5, outside=[4], down=[0, 1]), (2, 3, 4), collapsed=True)
EXCHANGED = sora(regular(6, outside=[3, 4, 5]), (3, 4, 5), named=(0, 1, 2), hidden=(0, 1, 2), collapsed=True)


SORA = (
    Mutant(
        "guard quorum",
        "gone",
        edit(guards.refuse_quorum_loss, "or has_majority(outcome)", "or True"),
        ONE_AWAY,
        (ANY_REGISTER,),
        RISKY,
    ),
    Mutant(
        "guard quorum",
        "off by one",
        edit(guards.refuse_quorum_loss, "or has_majority(outcome)", "or compute_margin(outcome) >= -1"),
        ONE_AWAY,
        (ANY_REGISTER,),
        RISKY,
    ),
    Mutant(
        "guard quorum",
        "turned round",
        edit(guards.refuse_quorum_loss, "or has_majority(outcome)", "or not has_majority(outcome)"),
        THREE_OF_FOUR,
        (ANY_STOP,),
        RISKY,
    ),
    Mutant(
        "guard quorum",
        "blind to a call that fails halfway",
        edit(guards.refuse_quorum_loss, "in (simulated.result, simulated.half):", "in (simulated.result,):"),
        ONE_AWAY,
        (ANY_REGISTER,),
        RISKY,
    ),
    Mutant(
        "guard quorum-margin",
        "gone",
        NONE_TO_SPARE,
        FIVE_ONE_DOWN,
    ),
    Mutant(
        "guard quorum-margin",
        "off by one",
        edit(guards.refuse_missing_reserve, "left >= preconditions.SPARE", "left >= preconditions.SPARE - 1"),
        FIVE_ONE_DOWN,
    ),
    Mutant(
        "guard quorum-margin",
        "turned round",
        edit(
            guards.refuse_missing_reserve,
            "left >= compute_margin(simulated.state)",
            "left <= compute_margin(simulated.state)",
        ),
        FIVE_ONE_DOWN,
    ),
    Mutant(
        "guard quorum-margin",
        "takes a purge for one that gives the reserve back",
        edit(
            guards._is_closed,
            "return preconditions.closes_window",
            "return True\n    return preconditions.closes_window",
        ),
        FIVE_ONE_DOWN,
    ),
    Mutant(
        "guard membership",
        "blind to steps at the same time",
        edit(
            guards.refuse_unordered_membership_change,
            "if previous is not None and previous.id not in",
            "if False and previous.id not in",
        ),
        FIVE_TO_THREE,
        (NO_ORDER, ANY_PURGE, NONE_TO_SPARE, ANY_MEMBERSHIP),
        "the planner's order, and the membership that each step expects",
    ),
    Mutant(
        "guard cluster-size",
        "gone",
        edit(guards.refuse_cluster_shrink, "if not wanted < min(now, SMALLEST):", "if True:"),
        THREE_TO_TWO,
    ),
    Mutant(
        "guard cluster-size",
        "off by one",
        edit(guards.refuse_cluster_shrink, "wanted < min(now, SMALLEST)", "wanted < min(now, SMALLEST - 1)"),
        THREE_TO_TWO,
    ),
    Mutant(
        "guard purge-alive",
        "gone",
        ANY_PURGE,
        CUT_OFF,
        (CUT_OFF_IS_DEAD, PURGE_UNSEEN),
        RISKY,
    ),
    Mutant(
        "guard purge-alive",
        "believes members, not the node",
        edit(
            guards._is_proven_stopped,
            "return proof.enough(word=word is not None)",
            "return cluster_view.is_away(name)",
        ),
        CUT_OFF,
        (CUT_OFF_IS_DEAD, PURGE_UNSEEN),
        RISKY,
    ),
    Mutant(
        "guard double-init",
        "gone",
        edit(guards._find_init_objection, "if not outcome.allowed:", "return ''\n    if False:"),
        NEW_AND_OLD,
        (RASH_FOUNDING, INIT_UNSEEN),
        RISKY,
    ),
    Mutant(
        "nodes of earlier",
        "not asked",
        BLIND_TO_EARLIER,
        REPLACED,
        (NONE_REQUIRED,),
        "that they have to answer themselves",
    ),
    Mutant("nodes of earlier", "need not answer", NONE_REQUIRED, DIED),
    Mutant(
        "nodes of earlier",
        "known as members, taken for merely named",
        edit(vars(ClusterPast)["knowledge"].fget, "if self.existed:", "if False:"),
        REMEMBERED,
    ),
    Mutant(
        "proof that no cluster runs",
        "not asked for beside `initialise`",
        edit(init_evidence.find_init_doubt, "_describe_doubt(unclear) if unclear", '""  if unclear'),
        APART,
    ),
    Mutant(
        "proof that no cluster runs",
        "not asked for beside `collapsed`",
        edit(init_evidence.find_init_doubt, "return _describe_doubt(may_hold)", 'return ""'),
        SAID_TO_BE_GONE,
    ),
    Mutant(
        "proof that no cluster runs",
        "not asked for beside `collapsed` of nodes that this host does not reach",
        edit(init_evidence.find_init_doubt, "if members or not strangers", "if True"),
        EXCHANGED,
    ),
    Mutant(
        "nodes that survivors list",
        "not asked",
        edit(select_lists, "return present or", "return present and"),
        REBUILT,
    ),
    Mutant(
        "proof of a stop",
        "asks no address",
        edit(
            stop_proof.prove_stopped,
            "_judge_reply(cluster_view, name, answers.get(place, own))",
            "AddressReply.SILENT",
        ),
        CUT_OFF,
    ),
    Mutant(
        "proof of a stop",
        "takes what could not be asked for silent",
        edit(
            stop_proof.prove_stopped,
            "for reply, proof, words in _ORDER:",
            "for reply, proof, words in _ORDER[:2]:",
        ),
        UNKNOWN,
    ),
    Mutant("rule of registering", "gone", ANY_REGISTER, ONE_MORE),
    Mutant(
        "rule of registering",
        "blind to a call that fails halfway",
        edit(
            preconditions.find_register_obstacle,
            "half = machine.register(state, node, contact, half=True)",
            "half = machine.register(state, node, contact)",
        ),
        ONE_MORE,
    ),
    Mutant("rule of stopping", "gone", ANY_STOP, ONE_LESS),
    Mutant(
        "rule of stopping",
        "off by one",
        edit(
            preconditions.find_stop_obstacle,
            "min(spare, compute_margin(state))",
            "min(spare, compute_margin(state)) - 1",
        ),
        ONE_LESS,
    ),
    Mutant(
        "judgement of stopping",
        "does not look again",
        edit(judge._judge_removal, "if why else _READY", "if False else _READY"),
        ONE_LESS,
    ),
    Mutant(
        "judgement of registering",
        "does not look again",
        edit(judge._judge_by_rule, "if why else _READY", "if False else _READY"),
        ONE_MORE,
    ),
    Mutant(
        "judgement of registering",
        "believes the members alone",
        edit(
            judge._judge_register,
            "if cluster_view.is_connected(target) and target in cluster_view.answering_nodes:",
            "if True:",
        ),
        ONE_MORE,
    ),
    Mutant("judgement of purging", "does not look whether the node runs again", PURGE_UNSEEN, DEAD),
)
