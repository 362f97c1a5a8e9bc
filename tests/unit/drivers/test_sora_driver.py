"""The driver on a simulated cluster: what it observes, what it does, what it remembers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import pytest
from support.sora_clusters import TODAY, FixedWire, WorldWire, cluster_memory, codes, entry, full, verbs

from reconciler.core.endpoint import parse_api
from reconciler.core.observation import Absent, Present, Stale, Unauthorized, Unidentified, Unreachable
from reconciler.core.plan import Revision, Risk
from reconciler.core.step_status import StepStatus
from reconciler.diagnostic import Position
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.choices import (
    DEFAULTS,
    Choices,
    MinorityListing,
    ReturnedListing,
    UndocumentedCall,
    UninitialisedListing,
)
from reconciler.drivers.sora.product import DRIVER, SoraDriver
from reconciler.drivers.sora.schema import NodeView, SoraCluster, SoraDesired
from reconciler.drivers.sora.simulator.world import HEADERS, SoraWorld
from reconciler.errors import InputError, NodeRefused, NodeUnidentified, NodeUnreachable
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver
from reconciler.ports.transport import Commands, Transports


@dataclass(frozen=True)
class Paper:
    """A fleet file whose positions are its pointers."""

    name: str = "fleet.yaml"
    value: object = None

    def position(self, pointer, *, key=False):
        return Position(f"fleet.yaml{pointer}")


class Host(Commands):
    """The driver, with commands that stop simulated nodes, and pauses that take no time."""

    def __init__(self, words, *, present="", converged=True, outside="", choices=DEFAULTS, **more):
        self.entry = entry(words, stop={"command": "stop-sora", "arguments": {"unit": "sora"}}, **more)
        everyone = " ".join(dict.fromkeys([*words.split(), *present.split()]))
        self.world = SoraWorld.from_entry(
            entry(everyone), converged, choices, outside=[full(o) for o in outside.split()]
        )
        self.wire = WorldWire(self.world)
        self.commands: list[tuple[str, str, dict[str, str]]] = []
        self.pauses: list[float] = []
        self.driver = SoraDriver(today=lambda: TODAY, pause=self.pause)

    async def read(self, command, values, *, node):
        raise AssertionError(command)

    async def run(self, command, values, *, node):
        self.commands.append((node, command, values))
        self.world.kill(node)
        return "stop ended well"

    async def pause(self, seconds):
        self.pauses.append(seconds)

    async def observe(self):
        return await self.driver.observe(SoraDesired(self.entry), Transports(self.wire, self))

    async def plan(self):
        return self.driver.plan(SoraDesired(self.entry), await self.observe())

    async def verdict(self, step):
        return self.driver.judge(step, await self.driver.observe_step(step, Transports(self.wire, self)))

    async def carry_out(self):
        """Every step of a plan, each ready before it and done after it; gives what they answered."""
        plan = await self.plan()
        answers = []
        for step in plan.steps:
            before = await self.verdict(step)
            assert before.status is StepStatus.READY, before
            answers.append(await self.driver.act(step, Transports(self.wire, self), {}))
            after = await self.verdict(step)
            assert after.status is StepStatus.DONE, after
        return plan, answers


def test_it_is_a_driver_and_in_the_registry():
    driver: Driver[SoraDesired, NodeView] = DRIVER
    assert DRIVERS["sora"] is driver
    assert (driver.kind, driver.entry, driver.lone_file) == ("sora", SoraCluster, "")


class TestPasses:
    """A whole pass each, and a second one that finds nothing to do."""

    @pytest.mark.parametrize(
        ("host", "steps"),
        [
            (lambda: Host("a b c t~", converged=False, initialise=True), ["init a", "register t"]),
            (lambda: Host("a b c d e", outside="d e"), ["register d", "register e"]),
            (
                lambda: Host("a b d", present="c", outside="d"),
                ["register d", "drain c", "stop c", "purge c"],
            ),
            (lambda: Host("a b c", present="t~"), ["drain t", "stop t"]),
            (lambda: Host("a b c", modes={"b": "block_new_session"}), ["mode b"]),
        ],
    )
    async def test_it_does_what_it_planned_and_then_plans_nothing(self, host, steps):
        host = host()
        plan, _ = await host.carry_out()
        assert verbs(plan) == steps
        again = await host.plan()
        assert verbs(again) == []
        assert again.unchanged == again.nodes

    async def test_with_a_dead_member(self):
        host = Host("a b d", present="c", outside="d")
        host.world.kill(full("c"))
        plan, _ = await host.carry_out()
        assert verbs(plan) == ["purge c", "register d"]
        assert verbs(await host.plan()) == []

    async def test_after_a_registration_that_failed_halfway(self):
        host = Host("a b c d", outside="d")
        host.world.join_halfway()
        step = (await host.plan()).steps[0]
        with pytest.raises(NodeRefused, match="500"):
            await host.driver.act(step, Transports(host.wire, host), {})
        verdict = await host.verdict(step)
        assert verdict.status is StepStatus.CHANGED
        assert "half registered" in verdict.reason
        plan, _ = await host.carry_out()
        assert verbs(plan) == ["register d"]


class TestWhereTheDocumentsAreSilent:
    """A cluster that refuses to list with its own codes, and one that accepts what the documents exclude."""

    UNNAMED = Choices(
        list_uninitialised=UninitialisedListing.OTHER_ERROR, list_without_majority=MinorityListing.OTHER_ERROR
    )
    MUTE = replace(UNNAMED, statistics=UndocumentedCall.REFUSE)

    @pytest.mark.parametrize("choices", [UNNAMED, MUTE])
    async def test_nodes_that_refuse_to_list_are_initialised_on_the_entry(self, choices):
        host = Host("a b c t~", converged=False, choices=choices, initialise=True)
        plan, _ = await host.carry_out()
        assert verbs(plan) == ["init a", "register t"]
        assert plan.steps[0].risk is Risk.HIGH
        assert verbs(await host.plan()) == []

    @pytest.mark.parametrize("choices", [UNNAMED, MUTE])
    async def test_without_the_entry_they_are_not(self, choices):
        assert verbs(await Host("a b c", converged=False, choices=choices).plan()) == []

    async def test_nor_where_their_statistics_show_a_cluster(self):
        host = Host("a b c", choices=self.UNNAMED, initialise=True)
        host.world.partition([full("a")], [full("b")], [full("c")])
        plan = await host.plan()
        assert (verbs(plan), codes(plan)) == ([], ["majority-lost"])
        assert "NODE-STATUS-UNKNOWN" in plan.findings[0].message

    @pytest.mark.parametrize("choices", [UNNAMED, MUTE])
    async def test_a_new_node_need_not_list_to_be_registered(self, choices):
        host = Host("a b c d t~", outside="d t", choices=choices)
        plan, _ = await host.carry_out()
        assert verbs(plan) == ["register d", "register t"]
        assert verbs(await host.plan()) == codes(await host.plan()) == []

    @pytest.mark.parametrize("minority", MinorityListing)
    @pytest.mark.parametrize("returned", ReturnedListing)
    async def test_a_purged_node_is_taken_back(self, minority, returned):
        host = Host("a b c d", choices=Choices(list_without_majority=minority, list_after_purge=returned))
        host.world.kill(full("d"))
        site, node_numbers = host.world.site, host.world.site.node_numbers
        site.take(machine.purge(site.state, node_numbers.at(full("a")), node_numbers.at(full("d"))))
        host.world.start(full("d"))
        plan, _ = await host.carry_out()
        assert verbs(plan) == ["register d"]

    @pytest.mark.parametrize("listing", UninitialisedListing)
    @pytest.mark.parametrize("choices", [UNNAMED, MUTE])
    async def test_a_half_registration_is_repeated(self, listing, choices):
        host = Host("a b c d", outside="d", choices=replace(choices, list_uninitialised=listing))
        host.world.join_halfway()
        step = (await host.plan()).steps[0]
        with pytest.raises(NodeRefused, match="500"):
            await host.driver.act(step, Transports(host.wire, host), {})
        plan, _ = await host.carry_out()
        assert verbs(plan) == ["register d"]

    async def test_one_that_is_never_completed_has_a_way_out_that_works(self):
        host = Host("a b c d", outside="d")
        host.world.join_halfway()
        (step,) = (await host.plan()).steps
        with pytest.raises(NodeRefused):
            await host.driver.act(step, Transports(host.wire, host), {})
        plan = await host.plan()
        assert codes(plan) == ["half-registered d"]
        words = "stop the node and remove it from the fleet file"
        assert words in plan.findings[0].remedy
        assert "purges it; wipe" in host.driver.find_remedy(plan.steps[0])
        host.world.kill(full("d"))
        host.entry = entry("a b c")
        plan, _ = await host.carry_out()
        assert verbs(plan) == ["purge d"]
        host.world.start(full("d"))
        host.entry = entry("a b c d")
        plan, _ = await host.carry_out()
        assert verbs(plan) == ["register d"]

    async def test_a_purged_node_that_runs_again_is_named(self):
        host = Host("a b c", present="d")
        host.world.kill(full("d"))
        plan, _ = await host.carry_out()
        assert "wipe its data" in plan.steps[0].inverse.words
        host.world.start(full("d"))
        wanted = SoraDesired(host.entry, history=cluster_memory("d"))
        seen = await host.driver.observe(wanted, Transports(host.wire, host))
        plan = host.driver.plan(wanted, seen)
        assert codes(plan) == ["node-rejoins d"]
        host.entry = entry("a b c d")
        plan = await host.plan()
        assert (verbs(plan), codes(plan)) == (["register d"], ["node-rejoins d"])
        assert "wipe" in host.driver.find_remedy(plan.steps[0])

    async def test_a_node_that_shows_itself_as_temporary_is_not_initialised(self):
        host = Host(
            "a b c",
            converged=False,
            initialise=True,
            choices=Choices(list_uninitialised=UninitialisedListing.SELF),
        )
        host.world.site.state = tuple(
            node._replace(temporary=number == 2) for number, node in enumerate(host.world.state)
        )
        plan = await host.plan()
        assert (verbs(plan), codes(plan)) == ([], ["kind-differs c"])

    async def test_a_cluster_that_accepts_a_temporary_node_is_initialised(self):
        host = Host(
            "a b c",
            converged=False,
            initialise=True,
            choices=Choices(init_with_temporary=UndocumentedCall.ACCEPT),
        )
        host.world.site.state = tuple(
            node._replace(temporary=number == 2) for number, node in enumerate(host.world.state)
        )
        plan, _ = await host.carry_out()
        assert verbs(plan) == ["init a"]
        assert codes(await host.plan()) == ["kind-differs c"]

    async def test_a_node_that_crashes_over_its_list_is_one_that_refuses(self):
        wire = FixedWire(500, headers=HEADERS)
        seen = await SoraDriver(today=lambda: TODAY).observe(
            SoraDesired(entry("a", initialise=True)), Transports(wire, None)
        )
        assert seen.nodes[full("a")].value.refusal == "500"

    async def test_a_redirected_call_identifies_no_node(self):
        wire = FixedWire(307, headers={"location": "https://other.example.com/"})
        wanted = SoraDesired(entry("a", initialise=True))
        seen = await SoraDriver(today=lambda: TODAY).observe(wanted, Transports(wire, None))
        assert isinstance(seen.nodes[full("a")], Unidentified)


class TestObserve:
    async def test_every_kind_of_answer(self):
        host = Host("a b c d e f", outside="d")
        host.world.partition([full("c")])
        host.world.kill(full("b"))
        kinds = {name[0]: type(answer) for name, answer in (await host.observe()).nodes.items()}
        assert kinds == {"a": Present, "b": Unreachable, "c": Stale, "d": Absent, "e": Present, "f": Present}

    async def test_members_that_the_file_does_not_name_are_asked_too(self):
        host = Host("a b c", present="d e")
        host.world.kill(full("e"))
        nodes = (await host.observe()).nodes
        assert isinstance(nodes[full("d")], Present)
        assert isinstance(nodes[full("e")], Unreachable)
        assert ("d", "ListClusterNodes") in host.wire.calls

    async def test_a_member_without_an_address_is_unknown_not_absent(self):
        host = Host("a b c", present="d")
        apis = {name: f"http://127.0.0.1:{3000 + i}/" for i, name in enumerate(host.world.names)}
        nodes = tuple(node.model_copy(update={"api": apis[node.name]}) for node in host.entry.nodes)
        host.entry = host.entry.model_copy(update={"nodes": nodes})
        host.world.site.apis = apis
        host.world.kill(full("d"))
        observed = await host.observe()
        assert isinstance(observed.nodes[full("d")], Unreachable)
        plan = host.driver.plan(SoraDesired(host.entry), observed)
        assert (verbs(plan), codes(plan)) == ([], ["purge-unproven d"])

    @pytest.mark.parametrize(
        ("wire", "expected"),
        [
            (FixedWire(401), Unauthorized),
            (FixedWire(500), Unidentified),
            (FixedWire(500, headers=HEADERS), Stale),
            (FixedWire(200, b"<html>"), Unidentified),
            (FixedWire(200, b'{"status": "ok"}'), Unidentified),
            (FixedWire(200, b"[]"), Unidentified),
            (FixedWire(200, b"[]", headers=HEADERS), Absent),
            (FixedWire(404, b"404 page not found"), Unidentified),
            (FixedWire(302, headers={"location": "http://user:word@other/"}), Unidentified),
            (FixedWire(error=NodeUnidentified("a", "its answer is not proper HTTP")), Unidentified),
            (FixedWire(400, b'{"error_type": "CLUSTER-NOT-INITIALISED"}'), Absent),
            (FixedWire(error=NodeUnreachable("a", "connection refused")), Unreachable),
        ],
    )
    async def test_no_failure_is_an_exception(self, wire, expected):
        observed = await DRIVER.observe(SoraDesired(entry("a b")), Transports(wire))
        assert {type(answer) for answer in observed.nodes.values()} == {expected}

    async def test_reads_change_nothing(self):
        host = Host("a b c d", outside="d")
        before = host.world.state
        await host.plan()
        assert host.world.state == before
        assert {call for _, call in host.wire.calls} == {"ListClusterNodes"}


class TestApiPaths:
    """A path in the address of an API counts only where the host lists the whole address."""

    API = "https://node1.example.com/api"

    def cluster_input(self, api):
        raw = {"name": "it", "kind": "sora", "nodes": [{"name": "n1@node1.example.com", "api": api}]}
        return ClusterInput(SoraCluster.model_validate(raw), Paper(), "/clusters/0", Revision("s", "1", "1"))

    @pytest.mark.parametrize(
        "api", [API, "https://node1.example.com:443/api/", "https://NODE1.example.com./api"]
    )
    def test_a_listed_address_passes_in_every_spelling(self, api):
        desired = SoraDriver(api_paths=[self.API]).desire(self.cluster_input(api))
        assert parse_api(desired.entry.nodes[0].api).place == parse_api(self.API).place

    @pytest.mark.parametrize(
        "api",
        [
            API,
            "http://node1.example.com/api",
            "https://node1.example.com/api/x",
            "https://node1.example.com:8443/api",
            "https://node2.example.com/api",
        ],
    )
    def test_any_other_path_is_refused(self, api):
        driver = SoraDriver(api_paths=[] if api == self.API else [self.API])
        with pytest.raises(InputError) as caught:
            driver.desire(self.cluster_input(api))
        assert [problem.code for problem in caught.value.problems] == ["api-path"]

    @pytest.mark.parametrize("api", ["http://0.0.0.0:3000/", "http://0x7f.1:3000/", "http://h:99999/"])
    def test_what_is_no_address_of_one_machine_is_refused(self, api):
        with pytest.raises(InputError) as caught:
            DRIVER.desire(self.cluster_input(api))
        assert [problem.code for problem in caught.value.problems] == ["bad-address"]

    async def test_a_path_that_a_node_lists_is_not_asked(self):
        host = Host("a b c", present="d")
        place = f"{host.world.site.apis[full('d')]}victim"
        host.world.site.apis[full("d")] = place
        observed = await host.observe()
        assert [call for call in host.wire.calls if call == ("d", "ListClusterNodes")] == []
        answers = (observed.nodes[full("d")], *observed.elsewhere.get(full("d"), {}).values())
        assert [answer for answer in answers if isinstance(answer, Present)] == []


class TestAct:
    async def test_what_it_did_is_remembered(self):
        _, answers = await Host("a b c", converged=False, initialise=True).carry_out()
        assert answers[0].used_confirmations == {"initialised": "2026-11-21"}
        _, answers = await Host("a b c", modes={"b": "block_new_session"}).carry_out()
        assert answers[0].facts == {"mode": "block_new_session", "drained": ""}

    async def test_a_used_entry_is_remembered(self):
        collapsed = {"reason": "two hosts burnt down", "until": "2026-11-30"}
        host = Host("a d e", present="b c", outside="d e", collapsed=collapsed)
        host.world.kill(full("b"))
        host.world.kill(full("c"))
        _, answers = await host.carry_out()
        assert answers[0].used_confirmations["collapsed"] == "2026-11-30: two hosts burnt down"

    async def test_a_node_is_stopped_once_its_channels_are_gone(self):
        host = Host("a b c", present="d e", drain=600)
        host.world.place("sora", full("d"))
        host.world.place("lemon", full("d"))
        plan, answers = await host.carry_out()
        assert verbs(plan)[:3] == ["drain d", "stop d", "purge d"]
        assert answers[0].facts == {"mode": "block_new_session", "drained": "normal"}
        assert "owned no channels" in answers[1].text
        assert host.pauses == [2.0, 2.0]
        values = {"unit": "sora", "node": full("d"), "host": "d.example.com"}
        assert host.commands[0] == (full("d"), "stop-sora", values)

    async def test_a_node_that_keeps_its_channels_is_stopped_when_the_time_is_over(self):
        host = Host("a b c", present="d", drain=0.01)
        for number in range(9):
            host.world.place(f"channel-{number}", full("d"))
        host.driver = SoraDriver(today=lambda: TODAY)
        _, answers = await host.carry_out()
        assert "still owned" in answers[1].text
        assert "after 0.01 s" in answers[1].text

    async def test_calls_go_to_the_right_node(self):
        host = Host("a b d", present="c", outside="d")
        await host.carry_out()
        changes = [call for call in host.wire.calls if not call[1].startswith("List")]
        assert changes == [("d", "RegisterClusterNode"), ("c", "ChangeMode"), ("a", "PurgeClusterNode")]


class TestDesire:
    def cluster_input(self, words, **more):
        return ClusterInput(entry(words, **more), Paper(), "/clusters/0", Revision("here", "1", "1"))

    def test_what_is_remembered_comes_with_it(self):
        desired = DRIVER.desire(self.cluster_input("a b t~"))
        assert (desired.entry.regular, desired.entry.temporary) == ((full("a"), full("b")), (full("t"),))

    def test_temporary_nodes_alone_are_refused(self):
        with pytest.raises(InputError, match="only temporary nodes") as caught:
            DRIVER.desire(self.cluster_input("t~ u~"))
        assert str(caught.value.problems[0].position) == "fleet.yaml/clusters/0/nodes"

    def test_one_node_alone_cannot_be_planned(self):
        assert not DRIVER.capabilities.single_node

    def test_there_is_no_lone_settings_file(self):
        with pytest.raises(InputError, match="a Sora cluster needs a fleet file"):
            DRIVER.build_lone_entry(Paper())


async def test_the_day_comes_from_the_clock_of_this_host():
    observed = await DRIVER.observe(
        SoraDesired(entry("a")),
        Transports(FixedWire(body=b'[{"node_name": "a@a.example.com", "connected": true}]')),
    )
    answer = observed.nodes[full("a")]
    assert isinstance(answer, Present)
    assert isinstance(answer.value.day, date)
