"""Unmanaged fields of M2 nodes: what is compared, what is delivered, and to whom; nodes that poll, too."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.m2_wire import cluster_input, desired, setting
from test_m2_polling import Site

from reconciler.core.diff import Change, Op
from reconciler.core.observation import Absent, Observed, Present
from reconciler.core.secret import reveal
from reconciler.core.step_status import StepStatus
from reconciler.core.unmanaged import UnmanagedField
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import LoadedSetting
from reconciler.drivers.m2.unmanaged import RULES, suggest_patterns
from reconciler.text.json_pointer import split_pointer

STATS = ("/hosting/*/stats",)
HOST = {"name": "www.example.com", "listen": "*:80"}


def with_fields(where, texts=STATS):
    fields = tuple(UnmanagedField(text, f"/clusters/0/unmanaged/{i}") for i, text in enumerate(texts))
    return replace(where, unmanaged={node.name: fields for node in where.entry.nodes})


def show(document, texts=STATS, **more):
    cache = ContentCache(unmanaged=tuple(sorted(split_pointer(text) for text in texts)))
    content = cache.of(document)
    return LoadedSetting(content, "http://edge-01.example.com:10040", waiting=(), own=content, **more)


def plan_for(document, shown, texts=STATS, nodes=("edge-01",), **entry):
    aim = desired(with_fields(cluster_input(document, nodes=nodes, **entry), texts))
    observed = Observed({node: Present(show(one, texts)) for node, one in zip(nodes, shown, strict=True)})
    aim = DRIVER.keep_unmanaged(aim, observed)
    return DRIVER.plan(aim, observed), aim, observed


def count(number, **more):
    return setting(hosting=[{**HOST, "stats": {"reads": number}, **more}])


def test_a_node_that_differs_there_alone_is_as_desired():
    plan, _, _ = plan_for(setting(), [count(5)])
    assert (plan.steps, plan.unchanged) == ((), 1)


def test_what_is_delivered_has_the_value_and_the_plan_does_not():
    plan, aim, observed = plan_for(setting(meta__version="B"), [count(5)])
    (step,) = plan.steps
    assert plan.payloads[step.payload].document["hosting"][0]["stats"] == {"reads": 5}
    assert [change.pointer for change in step.changes] == ["/meta/version"]
    assert step.arguments.unmanaged == STATS
    moved = Observed({"edge-01": Present(show(count(6)))})
    assert DRIVER.judge(step, moved).status is StepStatus.READY, "it moved since, and nothing else did"
    arrived = Observed({"edge-01": Present(show({**count(7), "meta": {"version": "B"}}))})
    assert DRIVER.judge(step, arrived).status is StepStatus.DONE
    other = Observed({"edge-01": Present(show({**count(5), "functions": {"x": 1}}))})
    assert DRIVER.judge(step, other).status is StepStatus.CHANGED
    assert DRIVER.contents(aim) == DRIVER.contents(
        desired(with_fields(cluster_input(setting(meta__version="B"))))
    )
    assert DRIVER.fingerprint_observations(aim, observed) != DRIVER.fingerprint_observations(aim, moved)


def test_no_other_node_gets_it():
    nodes = ("edge-01", "edge-02", "edge-03")
    shown = [count({"password": "hunter2-one"}), count({"password": "hunter2-two"}), setting()]
    plan, _, _ = plan_for(setting(meta__version="B"), shown, nodes=nodes)
    sent = {step.node: plan.payloads[step.payload].document["hosting"][0].get("stats") for step in plan.steps}
    assert [one and one["reads"]["password"] for one in sent.values()] == ["hunter2-one", "hunter2-two", None]
    assert len({step.payload for step in plan.steps}) == 3
    assert "hunter2" not in repr(plan.steps) + repr([step.arguments.plain() for step in plan.steps])


def test_guards_judge_what_is_delivered():
    """A host that the node has switched off by itself counts as switched off."""
    plan, aim, _ = plan_for(
        {**setting(meta__version="B"), "hosting": [HOST]},
        [count(1, enable=False)],
        ("/hosting/*/enable", *STATS),
    )
    assert aim.targets[0].content.canonical["hosting"][0]["enable"] is False
    assert [change.pointer for change in plan.steps[0].changes] == ["/meta/version"]


def test_going_back_delivers_what_the_node_had():
    plan, _, observed = plan_for(setting(meta__version="B"), [count(5)])
    undo, payloads = DRIVER.undo(plan.steps[0], observed, plan.payloads)
    assert payloads[undo.payload].document["hosting"][0]["stats"] == {"reads": 5}
    assert undo.arguments.unmanaged == STATS
    shown = Observed({"edge-01": Present(show({**count(9), "meta": {"version": "B"}}))})
    assert DRIVER.judge(undo, shown).status is StepStatus.READY
    assert DRIVER.judge(undo, Observed({"edge-01": Present(show(count(11)))})).status is StepStatus.DONE


def test_what_is_known_from_an_offer_alone_is_not_delivered():
    aim = desired(with_fields(cluster_input(setting(meta__version="B"))))
    observed = Observed({"edge-01": Present(replace(show(count(5)), own=None))})
    plan = DRIVER.plan(DRIVER.keep_unmanaged(aim, observed), observed)
    assert plan.steps == ()
    assert plan.unchanged == 0
    (finding,) = [one for one in plan.findings if one.code == "unmanaged-unknown"]
    assert finding.severity == "error"
    same = desired(with_fields(cluster_input(setting())))
    assert DRIVER.plan(DRIVER.keep_unmanaged(same, observed), observed).unchanged == 1


@pytest.mark.parametrize(
    "hosts", [[{**HOST, "stats": 1}, {**HOST, "stats": 2}], [{"stats": 1}]], ids=["one name twice", "no name"]
)
def test_items_that_cannot_be_told_apart_are_not_delivered(hosts):
    plan, _, _ = plan_for(setting(meta__version="B"), [setting(hosting=hosts)])
    assert plan.steps == ()
    assert [one.code for one in plan.findings if one.severity == "error"] == ["unmanaged-unknown"]


def test_an_import_has_no_such_field():
    _, aim, observed = plan_for(setting(), [count(5)])
    (document,) = DRIVER.build_live_state(aim, observed).documents.values()
    assert document["hosting"] == [HOST]


def test_a_node_without_a_setting_gets_what_the_files_have():
    aim = desired(with_fields(cluster_input(setting())))
    observed = Observed({"edge-01": Absent("none", "http://edge-01.example.com:10040")})
    (step,) = DRIVER.plan(DRIVER.keep_unmanaged(aim, observed), observed).steps
    assert aim.payloads[step.payload].document["hosting"] == [HOST]


@pytest.mark.parametrize(
    ("pointers", "expected"),
    [
        (["/hosting/www.example.com/stats"], ("/hosting/*/stats",)),
        (["/hosting/a~1b/stats", "/hosting/c/stats", "/licensed"], ("/hosting/*/stats", "/licensed")),
        (["/hosting/3/stats/7/x"], ("/hosting/*/stats/*/x",)),
        (["/env/management/roles/admin"], ()),
        (["/hosting/www.example.com"], ()),
        (["/licensed", "/meta/version"], ()),
        ([], ()),
    ],
)
def test_patterns_for_what_a_node_writes(pointers, expected):
    assert (
        suggest_patterns([Change(pointer=pointer, op=Op.REMOVE, old=1, new=None) for pointer in pointers])
        == expected
    )


def test_a_node_that_shows_something_else_gets_no_such_advice():
    assert suggest_patterns([Change(pointer="/licensed", op=Op.REPLACE, old=1, new=2)]) == ()


def test_every_guarded_part_is_vital():
    for pointer in (
        "/env/management/api/allowList/0/addr",
        "/env/management/roles",
        "/meta/version",
        "/hosting",
    ):
        assert RULES.find_vital(split_pointer(pointer)) is not None


class PolledSite(Site):
    def desired(self, document=None, short="c0ffee1", texts=STATS):
        aim = super().desired(document, short)
        fields = tuple(split_pointer(text) for text in texts)
        cache = ContentCache(unmanaged=fields)
        return replace(
            aim,
            targets=tuple(
                replace(one, unmanaged=fields, content=cache.of(one.content.document)) for one in aim.targets
            ),
        )

    async def plan(self, document=None, short="c0ffee1"):
        aim = self.desired(document, short)
        observed = await DRIVER.observe(aim, self.transports)
        return DRIVER.plan(DRIVER.keep_unmanaged(aim, observed), observed)

    def count(self, node, number):
        held = self.mailbox.node(node).setting
        self.mailbox.edit(node, {**held, "hosting": [{**held["hosting"][0], "stats": {"reads": number}}]})


async def test_a_node_that_polls_is_offered_what_it_reported_of_late():
    site = PolledSite()
    site.enrol()
    site.count("edge-01", 5)
    plan = await site.plan(setting(hosting=[{**HOST, "listen": "*:81"}]), "c0ffee2")
    (step,) = plan.steps
    offered = reveal(plan.payloads[step.payload].document)
    assert offered["hosting"] == [{**HOST, "listen": "*:81", "stats": {"reads": 5}}]
    await site.act(plan)
    site.mailbox.later(1)
    assert site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01")
    site.count("edge-01", 9)
    site.mailbox.poll("edge-01")
    assert (await site.judge(step)).status is StepStatus.DONE


async def test_an_old_report_is_not_delivered_again():
    site = PolledSite()
    site.enrol()
    site.count("edge-01", 5)
    for _ in range(8):
        site.mailbox.later(15)
        site.mailbox.poll("edge-01")
    plan = await site.plan(setting(hosting=[{**HOST, "listen": "*:81"}]), "c0ffee2")
    assert plan.steps == ()
    (finding,) = [one for one in plan.findings if one.code == "unmanaged-unknown"]
    assert "write its `address`" in finding.remedy
    assert (await site.plan()).unchanged == 1, "by its version it still has its setting"
