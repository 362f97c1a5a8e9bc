"""Reserved nodes of a Sora cluster: planner and judge count them as away, and purge stopped ones."""

from dataclasses import replace

from support.sora_clusters import agreeing, codes, entry, full, planned, seen, verbs

from reconciler.core.step_status import StepStatus
from reconciler.drivers.sora.judge import judge
from reconciler.drivers.sora.schema import SoraDesired
from reconciler.drivers.sora.stop_decision import report_channels_left

STOP = {"stop": {"command": "stop"}, "drain": 0}
FIVE = agreeing("a b c d e", *"abcde")


def reserving(letters, answers=FIVE):
    return replace(seen(answers), reserved=frozenset(map(full, letters)))


def test_a_removal_waits_for_the_majority_without_the_reserved_nodes():
    cluster = entry("a b c d", **STOP)
    assert verbs(planned(cluster, reserving(""))) == ["stop e", "purge e"]
    assert verbs(planned(cluster, reserving("a"))) == ["stop e", "purge e"]
    held = planned(cluster, reserving("ab"))
    assert (verbs(held), codes(held)) == ([], ["removal-waits e"])
    assert "majority would be lost" in held.findings[0].message


def test_a_stop_is_judged_again_with_what_was_reserved_since():
    (stop, _) = planned(entry("a b c d", **STOP), reserving("")).steps
    assert judge(stop, reserving("")).status is StepStatus.READY
    assert judge(stop, reserving("a")).status is StepStatus.CHANGED, "the reserve of its plan is gone"
    verdict = judge(stop, reserving("ab"))
    assert (verdict.status, "must not be stopped" in verdict.reason) == (StepStatus.CHANGED, True)


def test_a_drain_and_a_registration_are_judged_with_them_too():
    (drain, *_) = planned(entry("a b c d", stop={"command": "stop"}), reserving("")).steps
    assert drain.action == "drain"
    assert judge(drain, reserving("ab")).status is StepStatus.CHANGED
    three = agreeing("a b c", *"abc", d="")
    (register,) = planned(entry("a b c d"), reserving("", three)).steps
    assert judge(register, reserving("", three)).status is StepStatus.READY
    verdict = judge(register, reserving("a", three))
    assert verdict.status is StepStatus.CHANGED, "a half registration would need three of four"


def test_a_stopped_node_that_leaves_is_purged_though_it_is_reserved():
    """Whoever stops a leaving node asked before it: its own reservation must not keep it for ever."""
    answers = agreeing("a b c d e!", *"abcd", e=None)
    plan = planned(entry("a b c d"), reserving("e", answers))
    assert verbs(plan) == ["purge e"]
    assert plan.steps[0].arguments.suits_stopped_node
    assert judge(plan.steps[0], reserving("e", answers)).status is StepStatus.READY


def test_a_reserved_contact_is_not_asked_to_change_the_membership():
    answers = agreeing("a b c d e!", *"abcd", e=None)
    (purge,) = planned(entry("a b c d"), reserving("a", answers)).steps
    assert purge.arguments.contact != full("a")


def test_whoever_is_asked_to_stop_a_node_is_told_its_channels():
    cluster, observed = entry("a b c d", drain=0), seen(FIVE)
    plan = planned(cluster, observed)
    (stop, *_) = plan.steps
    assert stop.is_manual
    answer = observed.nodes[full("e")]
    for channels, words in ((7, "it owns 7 channels"), (0, "it owns no channels"), (None, "not known")):
        own = replace(answer, value=replace(answer.value, channels=channels))
        shown = replace(observed, nodes={**observed.nodes, full("e"): own})
        (finding,) = report_channels_left(SoraDesired(cluster), shown, plan)
        assert (finding.code, words in finding.message) == ("channels-left", True)
        if channels is not None:
            assert words in judge(stop, shown).reason
        assert planned(cluster, shown) == plan, "the id of the plan does not depend on it"
