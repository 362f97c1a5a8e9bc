"""Upgrades of Sora's nodes: one at a time, within the majority, continued after a crash."""

import asyncio
from dataclasses import replace

import pytest
from support.memory_files import snapshot_of
from support.sora_clusters import WorldWire, agreeing, codes, entry, full, planned, seen, short, verbs

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.observation import Present
from reconciler.core.outcome import State as StepState
from reconciler.core.step_status import StepStatus
from reconciler.desired.fleet import add_desired_state, load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.choices import Choices, MinorityListing, ModeAfterStart, UndocumentedCall
from reconciler.drivers.sora.cluster_state import make_formed_state
from reconciler.drivers.sora.guards import GUARDS
from reconciler.drivers.sora.judge import judge
from reconciler.drivers.sora.membership import NodeNumbers
from reconciler.drivers.sora.modelcheck import SoraModel
from reconciler.drivers.sora.product import DRIVER, SoraDriver
from reconciler.drivers.sora.schema import SoraDesired
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.drivers.sora.upgrades import is_older
from reconciler.errors import InputError, NodeRefused, NodeUnreachable
from reconciler.file_delivery.simulated_machines import SimulatedCommands, SimulatedFiles
from reconciler.guards import host_commands
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import explore_states
from reconciler.modelcheck.state_table import StateTable
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.simulated_machine import SimulatedMachine
from reconciler.ports.transport import Transports
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store

OLD, NEW = "2024.1.3", "2024.2.0"
COMMANDS = {
    "version": NEW,
    "stop": {"command": "stop-sora"},
    "upgrade": {"command": "upgrade-sora"},
    "start": {"command": "start-sora"},
}
RESTART = {"command": "restart-sora", "started": {"command": "sora-started"}}


def with_versions(observed, versions):
    """The same answers, with the version of each node in every view that shows it connected."""
    nodes = dict(observed.nodes)
    for name, answer in observed.nodes.items():
        if isinstance(answer, Present):
            rows = tuple(
                row.model_copy(update={"version": versions.get(short(row.node_name), OLD)})
                if row.connected
                else row
                for row in answer.value.rows
            )
            nodes[name] = Present(replace(answer.value, rows=rows))
    return replace(observed, nodes=nodes)


def shown(words="a b c", answering="a b c", versions=None, **more):
    answers = agreeing(words, *answering.split(), **more.pop("others", {}))
    return with_versions(seen(answers, **more), versions or {})


@pytest.mark.parametrize("letter", "ace")
def test_no_node_is_upgraded_while_somebody_may_stop_one(letter):
    cluster = entry("a b c d e", restart=RESTART, drain=0, **COMMANDS)
    observed = replace(shown("a b c d e", "a b c d e"), reserved=frozenset({full(letter)}))
    # All had their file changed: the restart of the reserved node must not make it count as back.
    recalled = {full(one): {"outdated_start": "old"} for one in "abcde"}
    observed = replace(observed, starts=dict.fromkeys(recalled, "old"))
    result = planned(cluster, observed, recalled)
    assert not [verb for verb in verbs(result) if verb.startswith("upgrade") or verb == f"restart {letter}"]
    assert {f"upgrade-waits {one}" for one in "abcde"} <= {*codes(result)}
    assert "mixed-versions" not in str(codes(result))


def ours(letter, **more):
    return {full(letter): {"stopped_for_upgrade": OLD, **more}}


def test_one_node_after_the_other_is_drained_upgraded_and_set_back():
    result = planned(entry("a b c", **COMMANDS), shown())
    assert verbs(result) == [f"{verb} {letter}" for letter in "abc" for verb in ("drain", "upgrade", "mode")]
    for before, step in zip(result.steps, result.steps[1:], strict=False):
        assert before.id in step.after
    upgrade = result.steps[1]
    assert upgrade.arguments.values["version"] == NEW
    assert upgrade.reason.startswith(f"a@a.example.com has version {OLD}, the fleet file says {NEW}: run")
    (note,) = (one for one in result.findings if one.code == "mixed-versions")
    assert "nodes of two versions" in note.message
    assert "at most 33 min" in note.message


def test_the_stamp_of_a_whole_fleet_is_no_version_of_sora():
    text = f"version: commit\n{FLEET.partition('  version')[0]}  nodes:\n"
    assert make_fleet(text=text).cluster_inputs[0].entry.version is None


def test_messages_name_the_upgrade_and_its_node():
    feedback = planned(entry("a b c", drain=0, **COMMANDS), shown()).steps[0].arguments.feedback
    assert (feedback.api, feedback.addresses) == ("/sora/upgrade", ("a.example.com",))


def test_nodes_with_the_version_are_left_alone():
    assert not verbs(planned(entry("a b c", **COMMANDS), shown(versions=dict.fromkeys("abc", NEW))))
    some = planned(entry("a b c", **COMMANDS), shown(versions={"a": NEW, "c": NEW}))
    assert verbs(some) == ["drain b", "upgrade b", "mode b"]
    assert some.unchanged == 2


def test_no_node_is_stopped_while_another_one_is_away():
    observed = shown("a b c d e!", "a b c d", others={"e": None})
    result = planned(entry("a b c d e", **COMMANDS), observed)
    assert not verbs(result)
    assert codes(result).count("upgrade-waits a") == 1
    assert "only one node at a time" in next(
        one.message for one in result.findings if one.code == "upgrade-waits"
    )


def test_two_nodes_are_never_upgraded_and_a_cluster_without_commands_waits():
    assert not verbs(planned(entry("a b", **COMMANDS), shown("a b", "a b")))
    waiting = planned(entry("a b c", version=NEW), shown())
    assert not verbs(waiting)
    assert "upgrade-waits a" in codes(waiting)
    assert waiting.unchanged == 0


def test_different_versions_are_noted_where_none_is_desired():
    result = planned(entry("a b c"), shown(versions={"a": NEW}))
    (note,) = (one for one in result.findings if one.code == "versions-differ")
    assert f"{OLD}: {full('b')}, {full('c')}; {NEW}: {full('a')}" in note.message
    assert not [one for one in planned(entry("a b c"), shown()).findings if one.code == "versions-differ"]


def test_the_node_that_a_run_stopped_is_brought_back_before_anything_else():
    observed = shown("a! b c", "b c", {"b": OLD, "c": OLD}, others={"a": None})
    cluster = entry("a b c", drain=0, **COMMANDS)
    result = planned(cluster, observed, ours("a"))
    assert verbs(result) == ["upgrade a", "upgrade b", "upgrade c"]
    assert result.steps[0].arguments.is_resumed
    assert result.steps[0].arguments.host_commands == ("upgrade-sora", "start-sora")
    assert "node-away a" not in codes(result)
    assert judge(result.steps[0], observed).status is StepStatus.READY


def test_a_node_that_an_operator_stopped_is_not_started():
    observed = shown("a! b c", "b c", others={"a": None})
    result = planned(entry("a b c", drain=0, **COMMANDS), observed)
    assert not verbs(result)
    assert {"node-away a", "upgrade-waits b"} <= set(codes(result))


def test_it_comes_back_also_where_the_cluster_has_lost_its_majority():
    observed = shown("a! b! c", "", others={"a": None, "b": None, "c": "a! b! c"})
    result = planned(entry("a b c", drain=0, **COMMANDS), observed, ours("a"))
    assert verbs(result) == ["upgrade a"]
    assert judge(result.steps[0], observed).status is StepStatus.READY


def test_it_is_only_started_where_no_version_is_desired_any_more():
    observed = shown("a! b c", "b c", others={"a": None})
    start = {"start": {"command": "start-sora"}}
    (step,) = planned(entry("a b c", drain=0, **start), observed, ours("a")).steps
    assert step.arguments.host_commands == ("start-sora",)
    assert judge(step, shown()).status is StepStatus.DONE
    assert "upgrade-interrupted a" in codes(planned(entry("a b c"), observed, ours("a")))


def test_what_was_remembered_is_forgotten_when_the_node_runs():
    desired = SoraDesired(entry("a b c", **COMMANDS), ours("a"))
    assert DRIVER.derive_facts(desired, shown())[full("a")]["stopped_for_upgrade"] == ""
    away = shown("a! b c", "b c", others={"a": None})
    assert "stopped_for_upgrade" not in DRIVER.derive_facts(desired, away).get(full("a"), {})


def test_an_upgrade_is_proven_by_the_version_in_every_view():
    step = planned(entry("a b c", drain=0, **COMMANDS), shown()).steps[0]
    assert judge(step, shown()).status is StepStatus.READY
    done = shown(versions={"a": NEW})
    assert judge(step, done).status is StepStatus.DONE
    mixed = replace(done, nodes={**done.nodes, full("b"): shown().nodes[full("b")]})
    assert judge(step, mixed).status is StepStatus.UNKNOWN
    down = shown("a! b c", "b c", others={"a": None})
    assert judge(step, down).status is StepStatus.CHANGED
    not_yet = shown("a! b c", "b c", others={"a": "alive"})
    assert judge(step, not_yet).status is StepStatus.UNKNOWN
    other_away = shown("a b c!", "a b", others={"c": None})
    assert judge(step, other_away).status is StepStatus.CHANGED


@pytest.mark.parametrize("missing", ["version", "stop", "start"])
def test_an_upgrade_needs_a_version_and_the_commands_around_it(missing):
    keys = {key: value for key, value in COMMANDS.items() if key != missing}
    with pytest.raises(ValueError, match=f"`upgrade` needs `{missing}`"):
        entry("a b c", **keys)


def test_a_temporary_node_comes_last_and_registers_again():
    cluster = entry("a~ b c d", drain=0, **COMMANDS)
    result = planned(cluster, shown("a~ b c d", "a b c d"))
    assert verbs(result) == ["upgrade b", "upgrade c", "upgrade d", "upgrade a", "register a"]
    stopped = planned(
        cluster, shown("b c d", "b c d", dict.fromkeys("bcd", NEW), others={"a": None}), ours("a")
    )
    assert verbs(stopped) == ["upgrade a", "register a"]
    tried = planned(
        cluster, shown("a~ b c d", "a b c d", dict.fromkeys("bcd", NEW)), {full("a"): {"upgraded": NEW}}
    )
    assert not verbs(tried)
    assert "upgrade-failed a" in codes(tried)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("2024.1.3", "2024.2.0", True),
        ("2024.2.0", "2024.10.0", True),
        ("2024.2.0", "2024.2.0", False),
        ("2025.1.0", "2024.2.0", False),
        ("2024.2", "2024.2.0", False),
        ("2024.2", "2024.2.1", True),
        ("v2024.1", "2024.2.0", True),
        ("v2025.1", "v2024.2.0", False),
        ("2024.2.0-canary.3", "2024.2.0", True),
        ("2024.2.0", "2024.2.0-canary.3", False),
        ("2024.2.0-canary.3", "2024.2.0-canary.10", True),
        ("2024.2.0-canary.10", "2024.2.0-canary.3", False),
        ("2024.2.0-beta", "2024.2.0-canary.1", True),
        ("2024.2.0-canary", "2024.2.0-canary.1", True),
        ("2024.2.0+b1", "2024.2.0", False),
        ("2024.2.0", "2024.2.0+b1", False),
        ("2024.2.0-x", "2024.2.0-1", False),
        ("9" * 400, "1", False),
        ("canary", "2024.2.0", False),
        ("2024.2.0", "canary", False),
    ],
)
def test_versions_are_compared_by_their_numbers(one, other, expected):
    assert is_older(one, other) is expected


def test_a_version_that_yaml_reads_as_a_number_is_not_suggested_without_its_zeros():
    nodes = "".join(f"  - {{name: {one}@{one}.example.com, api: 'http://{one}:3000/'}}\n" for one in "abc")
    text = f"clusters:\n- name: live\n  kind: sora\n  version: 2024.10\n  nodes:\n{nodes}"
    with pytest.raises(InputError) as caught:
        load_fleet(snapshot_of({"fleet.yaml": text}), DRIVERS)
    (problem,) = caught.value.problems
    assert problem.message == "`version` must be text, got `2024.10`"
    assert problem.remedy == 'write `"2024.10"`'


def run_all_guards(result, cluster, observed, commands=None):
    context = GuardContext(result, cluster, SoraDesired(cluster), observed)
    return [
        one.code for one in run_guards(replace(context, commands=commands), (*GUARDS, *host_commands.GUARDS))
    ]


def test_guards_know_upgrades():
    cluster, observed = entry("a b c", **COMMANDS), shown()
    result = planned(cluster, observed)
    everything = frozenset({"stop-sora", "upgrade-sora", "start-sora"})
    assert not run_all_guards(result, cluster, observed, everything)
    assert set(run_all_guards(result, cluster, observed, everything - {"start-sora"})) == {"unknown-command"}
    weaker = shown("a b c!", "a b", others={"c": None})
    assert {"quorum", "upgrade-overlap"} <= set(run_all_guards(result, cluster, weaker))
    newer = shown(versions=dict.fromkeys("abc", "2025.1.0"))
    assert "version-downgrade" in run_all_guards(planned(cluster, newer), cluster, newer)
    needy = entry("a b c", connections=900, **COMMANDS)
    limited = shown(limits=dict.fromkeys("abc", 400))
    assert "capacity" in run_all_guards(planned(needy, limited), needy, limited)


class WatchfulModel(SoraModel):
    """Also looks at every plan: only nodes that a run has stopped are started."""

    def plan(self, world):
        found = super().plan(world)
        for step in found.steps:
            if step.action == "upgrade" and step.arguments.is_resumed:
                assert world[self.node_numbers.at(step.node)].is_ours
        return found


LITERAL = Choices(purge_cut_off=UndocumentedCall.REFUSE)


@pytest.mark.parametrize(
    ("size", "faults", "drain"),
    # Two faults with a drain are too many states for a unit test.
    [
        *((size, faults, drain) for size, faults in [(3, 0), (3, 1), (4, 1), (5, 1)] for drain in (0, 60)),
        (3, 2, 0),
    ],
)
@pytest.mark.parametrize(
    "choices",
    [
        LITERAL,
        replace(LITERAL, list_without_majority=MinorityListing.OTHER_ERROR),
        replace(LITERAL, mode_after_start=ModeAfterStart.KEEP),
    ],
)
def test_no_execution_of_a_rolling_upgrade_loses_the_majority(size, faults, choices, drain):
    letters = "abcde"[:size]
    cluster = entry(" ".join(letters), drain=drain, **COMMANDS)
    desired = SoraDesired(cluster)
    world = tuple(
        node._replace(is_old=number < 2) for number, node in enumerate(make_formed_state([False] * size))
    )
    model = WatchfulModel(desired, NodeNumbers(tuple(map(full, letters))), choices)

    def weigh(plan, observed):
        return not run_guards(GuardContext(plan, cluster, desired, observed), GUARDS)

    checker = ExecutorModel(StateTable(model, weigh, single_node=False))
    result = explore_states([checker.begin(world, faults=faults)], checker.moves)
    assert result.complete
    assert not result.broken, (result.broken, result.story)
    assert result.states > 10


def test_the_checker_finds_upgrades_that_break_the_rules():
    cluster = entry("a b c", drain=0, **COMMANDS)
    model = SoraModel(SoraDesired(cluster), NodeNumbers(tuple(map(full, "abc"))), LITERAL)
    world = tuple(node._replace(is_old=True) for node in make_formed_state([False] * 3))
    step = model.plan(world).steps[0]
    failed = machine.stop(world, 2)
    patient = replace(step, arguments=replace(step.arguments, spare=1))
    assert "loses an existing majority" in model.find_broken_invariant(
        failed, patient, model.perform(failed, patient)
    )


# Whole passes over simulated nodes, whose commands do what they say.

FLEET = """\
clusters:
- name: live
  kind: sora
  drain: 0
  timeouts: {settle: 0.2, read: 1, in_flight: 0.2}
  version: 2024.2.0
  stop: {command: stop-sora}
  upgrade: {command: upgrade-sora}
  start: {command: start-sora}
  nodes:
"""


def make_fleet(letters="abc", text=FLEET):
    nodes = "".join(
        f"  - {{name: {one}@{one}.example.com, api: 'http://{one}.example.com:3000/'}}\n" for one in letters
    )
    return load_fleet(snapshot_of({"fleet.yaml": text + nodes}), {**DRIVERS, "sora": SoraDriver()})


class Site:
    """A simulated cluster with the commands of its machines; `failing` makes one of them fail, once."""

    def __init__(self, store, letters="abc"):
        self.store, self.drivers = store, {**DRIVERS, "sora": SoraDriver()}
        self.world = SoraWorld.from_entry(make_fleet(letters).cluster_inputs[0].entry, converged=True)
        self.world.site.versions = dict.fromkeys(self.world.names, OLD)
        self.installed = dict(self.world.site.versions)
        self.calls, self.failing, self.after = [], {}, False
        machines = {name: self._make_machine(name) for name in self.world.names}
        self.transports = Transports(
            WorldWire(self.world), SimulatedCommands(machines), files=SimulatedFiles(machines)
        )

    def _make_machine(self, name):
        def stop(machine, values):
            self.world.kill(name)
            return "stopped"

        def upgrade(machine, values):
            self.installed[name] = values["version"]
            return "installed"

        def start(machine, values):
            self.world.site.versions[name] = self.installed[name]
            self.world.start(name)
            return "started"

        commands = {"stop-sora": stop, "upgrade-sora": upgrade, "start-sora": start}

        def call(command):
            def run(machine, values):
                self.calls.append(f"{command.removesuffix('-sora')} {short(name)}")
                failure = self.failing.pop((command, short(name)), None)
                if failure is not None and not self.after:
                    raise failure
                words = commands[command](machine, values)
                if failure is not None:
                    raise failure
                return words

            return run

        return SimulatedMachine(commands={command: call(command) for command in commands})

    async def run(self, wanted=None):
        await settle_open_runs(self.store, self.drivers, self.transports)
        seen_now = await run_plan_pass(
            add_desired_state(wanted or make_fleet(), self.drivers),
            drivers=self.drivers,
            transports=self.transports,
            recalled=await self.store.read_memory(),
        )
        return await run_apply_pass(
            seen_now,
            drivers=self.drivers,
            transports=self.transports,
            journal=self.store,
            run_context=RunContext(),
        )

    @property
    def versions(self):
        return [self.world.site.versions[name] for name in self.world.names]


@pytest.fixture
def site(tmp_path):
    with open_store(tmp_path / "state") as opened:
        yield Site(opened)


def refusal(words):
    return NodeRefused("n", words, status=1, code="COMMAND", again=True)


async def test_a_pass_upgrades_the_cluster(site):
    report = await site.run()
    assert {one.state for one in report.outcomes} == {StepState.DONE}
    assert site.versions == [NEW] * 3
    assert site.calls == [f"{verb} {letter}" for letter in "abc" for verb in ("stop", "upgrade", "start")]
    assert not (await site.run()).outcomes


async def test_a_failed_upgrade_command_starts_the_node_again_and_stops_the_chain(site):
    site.failing["upgrade-sora", "a"] = refusal("no such package")
    report = await site.run()
    assert site.calls == ["stop a", "upgrade a", "start a"]
    assert report.outcomes[0].state is StepState.FAILED
    assert "no such package; the node was started again" in report.outcomes[0].reason
    assert site.world.running(full("a"))
    assert site.versions == [OLD] * 3


async def test_a_node_whose_upgrade_waits_for_its_next_attempt_is_not_drained(site):
    wanted = make_fleet(text=FLEET.replace("drain: 0", "drain: 1"))
    site.failing["upgrade-sora", "a"] = refusal("no such package")
    report = await site.run(wanted)
    assert [one.step.action for one in report.outcomes[:2]] == ["drain", "upgrade"]
    assert report.outcomes[1].state is StepState.FAILED
    site.calls.clear()
    report = await site.run(wanted)
    assert not site.calls
    assert not [one for one in report.outcomes if one.step.action == "drain"]
    assert {node.mode.value for node in site.world.state} == {"normal"}


async def test_an_upgrade_without_effect_stops_the_chain_and_is_told(site):
    site.installed = dict.fromkeys(site.installed, OLD)
    machines = site.transports.commands.machines
    machines[full("a")].commands["upgrade-sora"] = lambda machine, values: "nothing to do"
    report = await site.run()
    assert report.outcomes[0].state is StepState.FAILED
    assert f"it has version {OLD}" in report.outcomes[0].reason
    assert "stop b" not in site.calls


class Killed(BaseException):
    """The run ends at once, and writes nothing more."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("command", ["stop-sora", "upgrade-sora", "start-sora"])
async def test_the_next_run_continues_after_a_kill_at_any_command(site, command, after):
    site.failing[command, "a"] = Killed()
    site.after = after
    with pytest.raises((Killed, BaseExceptionGroup)):
        await site.run()
    site.calls.clear()
    await asyncio.sleep(0.25)  # the call may still take effect
    report = await site.run()
    if not report.outcomes:
        report = await site.run()
    assert {one.state for one in report.outcomes} <= {StepState.DONE, StepState.FOUND}
    assert site.versions == [NEW] * 3
    assert all(site.world.running(name) for name in site.world.names)
    assert ("stop a" in site.calls) is (command == "stop-sora" and not after)


async def test_a_node_whose_upgrade_was_cut_off_is_remembered_and_one_of_an_operator_is_not_started(site):
    site.failing["upgrade-sora", "a"] = NodeUnreachable("n", "the connection broke", sent=False)
    report = await site.run()
    assert report.outcomes[0].state is not StepState.DONE
    assert not site.world.running(full("a"))
    (facts,) = (await site.store.read_memory()).facts.values()
    assert facts[full("a")]["stopped_for_upgrade"] == OLD
    site.world.start(full("a"))
    await asyncio.sleep(0.25)
    await site.run()
    site.world.kill(full("a"))
    site.calls.clear()
    await site.run()
    assert not site.calls
    (facts,) = (await site.store.read_memory()).facts.values()
    assert "stopped_for_upgrade" not in facts[full("a")]


async def test_after_a_success_a_stop_is_somebody_elses(site):
    await site.run()
    site.world.kill(full("a"))
    site.calls.clear()
    await site.run()
    assert not site.calls
    assert not site.world.running(full("a"))
