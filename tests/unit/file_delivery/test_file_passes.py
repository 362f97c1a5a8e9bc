"""Files through whole passes with the real store: lost answers, kills, changes by hand, and the way back."""

from contextlib import suppress
from dataclasses import replace

import pytest
from support.driver import Killed, fleet
from support.file_product import ENTRY, FileCluster, FileDriver, FileNode, FileWorld, machine
from support.machines import make_file_transport

from reconciler.core.file_state import FilePlace, FileState, compute_file_digest
from reconciler.core.observation import Present, describe_unread
from reconciler.core.outcome import State
from reconciler.core.rollout_rules import Rollout
from reconciler.core.secret import MASK
from reconciler.errors import GuardRefusal
from reconciler.file_delivery.content import WholeFile
from reconciler.file_delivery.reading import read_node_files
from reconciler.file_delivery.steps import FileWish, plan_file
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store

OLD, NEW = "cluster = true\n", "cluster = false\n"


async def no_rest(seconds, stop):
    return None


class Bench:
    """Machines, a store, and passes over them."""

    def __init__(self, store, **contents):
        self.store = store
        self.world = FileWorld({node: machine(content) for node, content in contents.items()})
        self.driver = FileDriver()
        self.drivers = {"filed": self.driver}

    def file(self, node="a"):
        return self.world.machines[node].files[ENTRY]

    def loaded(self, node="a"):
        return self.world.machines[node].loaded.get(ENTRY)

    async def plan(self, cluster):
        return await run_plan_pass(
            fleet(cluster),
            drivers=self.drivers,
            transports=self.world.transports,
            recalled=await self.store.read_memory(),
        )

    async def run(self, cluster):
        return await run_apply_pass(
            await self.plan(cluster),
            drivers=self.drivers,
            transports=self.world.transports,
            journal=self.store,
            run_context=RunContext(rest=no_rest),
        )


@pytest.fixture
def bench(tmp_path):
    with open_store(tmp_path / "state") as store:
        yield Bench(store, a=OLD.encode())


def hall(text=NEW, **more):
    return FileCluster(name="hall", nodes=(FileNode(name="a", text=text, **more),))


def states(report):
    return [(outcome.step.action, outcome.state.value) for outcome in report.outcomes]


DONE = [("stage-file", "done"), ("switch-file", "done"), ("restart", "done")]


async def test_a_file_is_staged_switched_and_brought_in(bench):
    report = await bench.run(hall())
    assert states(report) == DONE
    assert (bench.file().content, bench.file().backup, bench.loaded()) == (
        NEW.encode(),
        OLD.encode(),
        NEW.encode(),
    )
    assert (await bench.plan(hall())).plan.is_empty


async def test_a_plan_shows_what_changes_and_changes_nothing(bench):
    found = await bench.plan(hall())
    stage, switch, restart = found.plan.steps()
    assert [(one.pointer, one.old, one.new) for one in stage.changes] == [
        ("/conf/lines/1", ["cluster = true"], ["cluster = false"])
    ]
    assert (switch.after, restart.after) == ((stage.id,), (switch.id,))
    assert bench.world.files.calls == []


@pytest.mark.parametrize("call", ["stage", "switch"])
@pytest.mark.parametrize("fault", ["lost", "nothing"])
async def test_a_lost_answer_is_settled_by_reading(bench, call, fault):
    bench.world.files.faults[call] = fault
    report = await bench.run(hall())
    if fault == "lost":
        assert states(report) == DONE
        return
    assert "failed" in {state for _, state in states(report)}
    assert bench.file().content == OLD.encode()


@pytest.mark.parametrize("call", ["stage", "switch"])
@pytest.mark.parametrize("fault", ["killed before", "killed after"])
async def test_a_kill_on_either_side_of_a_call_is_settled_by_reading(bench, call, fault):
    bench.world.files.faults[call] = fault
    with suppress(Killed):
        await bench.run(hall())
    assert bench.file().content in {OLD.encode(), NEW.encode()}
    settled = await settle_open_runs(bench.store, bench.drivers, bench.world.transports)
    wanted = State.DONE if fault == "killed after" else State.FAILED
    first, *others = ((outcome.step.action, outcome.state) for outcome in settled)
    assert first == (f"{call}-file", wanted)
    assert {state for _, state in others} <= {State.SKIPPED}
    bench.world.files.calls.clear()
    if fault == "killed before":  # a further attempt has its pause
        return
    report = await bench.run(hall())
    assert report.is_success
    assert call not in bench.world.files.calls, "what was done is not done again"
    assert bench.loaded() == NEW.encode()


async def test_a_change_by_hand_between_plan_and_switch_is_kept(bench):
    seen = await bench.plan(hall())
    bench.file().content = b"by hand"
    report = await run_apply_pass(
        seen, drivers=bench.drivers, transports=bench.world.transports, journal=bench.store
    )
    assert states(report)[0] == ("stage-file", "changed")
    assert "changed by somebody else" in report.outcomes[0].reason
    assert bench.file().content == b"by hand"


async def test_a_refused_check_leaves_all_as_it_is_and_ends_the_attempts(bench):
    bench.world.files.below.check = lambda place, content: "line 1: no such value"
    report = await bench.run(hall())
    assert states(report)[0] == ("stage-file", "failed")
    assert "line 1: no such value" in report.outcomes[0].reason
    assert (bench.file().content, bench.file().staged, bench.loaded()) == (OLD.encode(), None, OLD.encode())
    again = await bench.plan(hall())
    assert "node-stalled" in [finding.code for finding in again.plan.findings()]
    assert not (await bench.plan(hall("cluster = maybe\n"))).plan.is_empty, "other content is another attempt"


async def test_a_full_disk_is_told_and_leaves_all_as_it_is(bench):
    bench.file().is_full = True
    report = await bench.run(hall())
    assert states(report)[0] == ("stage-file", "failed")
    assert "No space left" in report.outcomes[0].reason
    assert bench.file().content == OLD.encode()


async def test_what_a_killed_run_left_is_reused_or_removed(bench):
    bench.file().staged = NEW.encode()
    report = await bench.run(hall())
    assert states(report) == [("stage-file", "found"), *DONE[1:]]
    bench.file().leftover = b"half"
    report = await bench.run(hall())
    assert states(report) == [("discard-file", "done")]
    assert bench.file().leftover is None


async def test_a_file_that_cannot_be_read_is_unknown_and_never_absent(bench):
    bench.world.machines["a"].is_silent = True
    found = await bench.plan(hall())
    assert found.plan.is_empty
    assert [finding.code for finding in found.plan.findings()] == ["file-unreadable"]


async def test_a_file_that_nodes_share_is_told_and_not_written(tmp_path):
    path = tmp_path / "shared.conf"
    path.write_text(OLD)
    files = make_file_transport(path)
    found = await read_node_files(files, [FilePlace("conf", "a"), FilePlace("conf", "b")])
    assert found["a"]["conf"].reason == "the file conf is also that of b"
    assert "give `files: conf` a path with `{node}`" in found["a"]["conf"].remedy
    assert found["b"]["conf"].reason.startswith("the file conf is also that of a")
    alone = await read_node_files(files, [FilePlace("conf", "a"), FilePlace("conf", "a")])
    assert alone["a"]["conf"].value.digest == compute_file_digest(OLD.encode())
    plan = plan_file(
        FileWish(cluster="c", place=FilePlace("conf", "a"), content=WholeFile((NEW,))), found["a"]["conf"]
    )
    assert plan.steps == ()
    assert plan.findings[0].message.startswith("the file conf of a is also that of b")


async def test_a_file_that_does_not_fit_is_told(bench):
    bench.file().content = b"cluster = true\nnot a pair\n"
    found = await bench.plan(hall("", values={"cluster": False}))
    assert found.plan.is_empty
    (finding,) = found.plan.findings()
    assert finding.code == "file-unfit"
    assert "line 2" in finding.message


async def test_keys_are_ours_and_other_lines_survive(bench):
    bench.file().content = b"# ours\r\ncluster = true\r\nother = 1"
    report = await bench.run(hall("", values={"cluster": False, "api_port": 3000}))
    assert report.is_success
    assert bench.file().content == b"# ours\r\ncluster = false\r\nother = 1\r\napi_port = 3000\r\n"
    bench.file().content += b"# by hand\r\n"
    bench.world.machines["a"].start()
    assert (await bench.plan(hall("", values={"cluster": False, "api_port": 3000}))).plan.is_empty


async def test_secrets_show_nowhere(bench):
    found = await bench.plan(hall("a = 1\nlicense = ", secret="s3cr3t-value"))
    told = str(found.plan.plain())
    assert "s3cr3t" not in told
    assert "license = ${env:S}" in told
    report = await bench.run(hall("", secret="s3cr3t-value"))
    assert report.is_success
    assert b"license = s3cr3t-value" in bench.file().content
    assert "s3cr3t" not in str([outcome.reason for outcome in report.outcomes])
    other = await bench.plan(hall("", secret="another-value"))
    (stage, *_) = other.plan.steps()
    assert [str(value) for change in stage.changes for value in (change.old, change.new)] == [
        MASK,
        "${env:S}",
    ]
    digests = {
        value for key, value in stage.arguments.plain().items() if key in {"before", "after", "payload"}
    }
    (again, *_) = (await bench.plan(hall("", secret="a-third-value"))).plan.steps()
    assert digests == {
        value for key, value in again.arguments.plain().items() if key in {"before", "after", "payload"}
    }, "nobody can test guesses of a secret against a plan"


async def test_a_failed_wave_takes_the_file_back_and_only_then_restarts(tmp_path):
    with open_store(tmp_path / "state") as store:
        bench = Bench(store, a=OLD.encode(), b=OLD.encode())
        bench.world.files.below.check = lambda place, content: "no" if place.node == "b" else ""
        nodes = (FileNode(name="a", text=NEW), FileNode(name="b", text=NEW))
        report = await bench.run(FileCluster(name="hall", nodes=nodes, rollout=Rollout(on_failure="return")))
        assert not report.is_success
        undone = [outcome.step.action for outcome in report.outcomes if outcome.state is State.UNDONE]
        assert sorted(undone) == ["restart", "stage-file", "switch-file"]
        runs = await store.runs()
        record = await store.run(next(run.id for run in runs if run.trigger == "undo"))
        back = [(entry.step.action, entry.state.value) for entry in record.entries]
        assert back.index(("restore-file", "done")) < back.index(("restart", "done"))
        assert (bench.file().content, bench.file().staged, bench.loaded()) == (
            OLD.encode(),
            None,
            OLD.encode(),
        )


@pytest.mark.parametrize(("timeout", "seconds"), [(0.0, 300.0), (20.0, 40.0), (500.0, 300.0)])
def test_a_call_without_an_answer_is_waited_for_as_long_as_the_programs_of_the_entry_can_take(
    timeout, seconds
):
    reading = Present(FileState(b"old\n", timeout=timeout))
    wish = FileWish(cluster="c", place=FilePlace("conf", "a"), content=WholeFile((NEW,)), in_flight=300.0)
    assert {step.in_flight for step in plan_file(wish, reading).steps} == {seconds}


async def test_a_file_that_two_clusters_have_is_written_for_neither(bench, tmp_path):
    path = tmp_path / "shared.conf"
    path.write_text(OLD)
    transports = replace(bench.world.transports, files=make_file_transport(path))
    clusters = [
        FileCluster(name=name, nodes=(FileNode(name=node, text=NEW),))
        for name, node in (("hall", "a"), ("lobby", "b"))
    ]

    async def plan(*chosen):
        return await run_plan_pass(fleet(*chosen), drivers=bench.drivers, transports=transports)

    found = await plan(*clusters)
    assert [(one.code, one.target) for one in found.violations] == [
        ("one-file-twice", "hall/a"),
        ("one-file-twice", "lobby/b"),
    ]
    assert f"is also the file conf of b in the cluster lobby (this machine: {path})" in str(
        found.violations[0].message
    )
    with pytest.raises(GuardRefusal):
        await run_apply_pass(found, drivers=bench.drivers, transports=transports, journal=bench.store)
    assert path.read_text() == OLD
    assert (await plan(clusters[0])).violations == ()


async def test_the_remedy_for_a_file_fits_why_it_was_not_read(tmp_path):
    path = tmp_path / "large.conf"
    path.write_bytes(b"x" * 2_000_000)
    place = FilePlace("conf", "a")
    reading = (await read_node_files(make_file_transport(path), [place]))["a"]["conf"]
    assert "2,000,000 bytes" in reading.reason
    assert reading.remedy.startswith("raise `limit`")
    assert "raise `limit`" in describe_unread(reading)
