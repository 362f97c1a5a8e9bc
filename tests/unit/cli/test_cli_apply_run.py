"""The flow behind `reconcile`: what is asked, what is done, what is written down, and every exit status."""

import contextlib
import io
import json
from dataclasses import replace

import pytest
from support import driver as support
from support.driver import NOWHERE, FakeDriver, FleetSource, World, cluster

from reconciler.api import reader
from reconciler.api.reader import Reader
from reconciler.cli import apply_run, dry_run
from reconciler.cli.main import main
from reconciler.cli.options import PlanFormat
from reconciler.cli.run_options import RunOptions
from reconciler.cli.state_folder import StateFolder
from reconciler.cli.terminal import Terminal
from reconciler.diagnostic import Severity
from reconciler.errors import UsageError
from reconciler.exit_status import MEANINGS
from reconciler.planning.unread_limit import UnreadLimit
from reconciler.store.sqlite import FILE


class Strict(FakeDriver):
    """A product for which a node that does not answer is an error."""

    def plan(self, desired, observed):
        plan = super().plan(desired, observed)
        return replace(plan, findings=tuple(replace(one, severity=Severity.ERROR) for one in plan.findings))


class StageReader(Reader):
    """A reader of fleets that were never files."""

    async def read_fleet(self, *, notes=None):
        return self.source.fleet()


class Stage:
    """A fleet in memory, a state folder, and a terminal that keeps its output."""

    def __init__(self, folder, monkeypatch):
        self.world = World({"a": "old", "b": "new", "c": "old"})
        self.wanted = {"a": "new", "b": "new", "c": "new"}
        self.options = {}
        self.folder = folder / "state"
        self.out, self.aside = io.StringIO(), io.StringIO()
        self.monkeypatch = monkeypatch
        self.terminal = Terminal(out=self.out, aside=self.aside)
        for module in (apply_run, dry_run):
            monkeypatch.setattr(module, "make_reader", self._reader)

    def _reader(self, order, tracer):
        return StageReader(
            FleetSource(lambda: support.fleet(cluster("hall", self.wanted, **self.options))),
            drivers={"fake": Strict(self.world)},
            connect=lambda _: contextlib.nullcontext(NOWHERE),
        )

    def run(self, *, planning=False, **order) -> int:
        self.out.truncate(0), self.out.seek(0), self.aside.truncate(0), self.aside.seek(0)
        carry_out = dry_run.run_dry_run if planning else apply_run.plan_and_apply
        return carry_out(RunOptions(state=StateFolder(self.folder, "--state"), **order), self.terminal)

    def answering(self, text):
        self.monkeypatch.setattr("sys.stdin", io.StringIO(text))
        self.terminal = replace(self.terminal, can_prompt=True)

    @property
    def output(self) -> str:
        return self.out.getvalue()


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return Stage(tmp_path, monkeypatch)


@pytest.mark.parametrize(("detailed", "status"), [(False, 0), (True, 2)])
def test_a_dry_run_changes_nothing_and_leaves_nothing_behind(stage, detailed, status):
    assert stage.run(planning=True, detailed_exitcode=detailed) == status
    assert "2 changes on 1 cluster." in stage.output
    assert stage.world.acts == []
    assert not stage.folder.exists()


def test_a_dry_run_without_changes_succeeds(stage):
    stage.wanted = {"b": "new"}
    assert stage.run(planning=True, detailed_exitcode=True) == 0
    assert "No changes: 1 node is as desired." in stage.output


@pytest.mark.parametrize(("detailed", "status"), [(False, 1), (True, 2)])
def test_a_dry_run_with_a_silent_node_still_plans_the_others_and_says_both(stage, detailed, status):
    stage.world.silent.add("a")
    assert stage.run(planning=True, detailed_exitcode=detailed) == status
    assert "1 change on 1 cluster; 1 error." in stage.output
    assert stage.run(planning=True, detailed_exitcode=detailed, format=PlanFormat.JSON) == status
    assert json.loads(stage.output)["exit"] == {
        "status": status,
        "meaning": MEANINGS[status],
        "pending": 1,
        "waiting": 0,
        "unread": 1,
        "unread_nodes": ["hall/a"],
        "tolerated": 0,
        "errors": 0,
        "refused": 0,
        "refused_clusters": [],
        "held": [],
    }


@pytest.mark.parametrize(
    ("limit", "silent", "status"),
    [
        *(("0", "a", 1), ("1", "a", 0), ("1", "ac", 1), ("2", "ac", 0), ("2", "abc", 1), ("9", "abc", 1)),
        *(("33%", "a", 0), ("33%", "ac", 1), ("34%", "ac", 1), ("67%", "ac", 0), ("100%", "abc", 1)),
    ],
)
def test_tolerated_nodes_are_no_error_in_a_dry_run_and_in_a_run(stage, limit, silent, status):
    stage.wanted = {"a": "old", "b": "new", "c": "old", "d": "new"}
    stage.world.values["d"] = "new"
    if "b" in silent:
        stage.wanted.pop("d")
    stage.world.silent.update(silent)
    allowed = {"unread_limit": UnreadLimit.read(limit)}
    assert stage.run(planning=True, **allowed) == status
    assert stage.run(yes=True, **allowed) == status
    if limit != "0":
        said = stage.aside.getvalue()
        assert ("is no error" in said) == (status == 0)
        assert ("could not be read; --tolerate-unread" in said or "not tolerated" in said) == (status == 1)


def test_a_run_beside_tolerated_nodes_is_done_and_pending_changes_still_have_their_status(stage):
    stage.world.silent.add("a")
    allowed = {"unread_limit": UnreadLimit.read("1")}
    assert stage.run(planning=True, detailed_exitcode=True, **allowed) == 2
    assert stage.run(yes=True, **allowed, format=PlanFormat.JSON) == 0
    ended = json.loads(stage.output)["exit"]
    assert (ended["status"], ended["unread"], ended["tolerated"], ended["pending"]) == (0, 1, 1, 0)


def test_refused_plans_stay_refused_whatever_is_tolerated(stage):
    stage.wanted["c"] = "forbidden"
    stage.world.silent.add("a")
    allowed = {"unread_limit": UnreadLimit.read("100%")}
    assert stage.run(planning=True, detailed_exitcode=True, **allowed) == 3
    assert stage.run(yes=True, format=PlanFormat.JSON, **allowed) == 3
    assert json.loads(stage.output)["exit"]["refused"] == 1


def test_a_refused_plan_is_status_3_in_both_modes_and_only_the_run_is_kept(stage):
    stage.wanted["c"] = "forbidden"
    assert stage.run(planning=True) == 3
    assert not stage.folder.exists()
    assert stage.run(yes=True) == 3
    assert "refused: c may not [forbidden]" in stage.output
    assert stage.world.acts == []
    assert "refused: c may not" in history(stage)


def test_a_confirmed_plan_is_applied_verified_and_recorded(stage):
    stage.answering("y\n")
    assert stage.run() == 0
    assert stage.world.values == {"a": "new", "b": "new", "c": "new"}
    assert "Apply 2 changes on 1 cluster? [y/N]" in stage.aside.getvalue()
    assert "Done: 2 changes; verified: no changes remain." in stage.output
    assert "done: 2 changes" in history(stage)


def test_an_answer_no_does_nothing(stage):
    stage.answering("n\n")
    assert stage.run() == 1
    assert stage.world.acts == []
    assert "Nothing was done." in stage.aside.getvalue()


def test_without_a_terminal_the_error_names_the_option(stage):
    with pytest.raises(UsageError) as raised:
        stage.run()
    assert "--yes" in raised.value.remedy
    assert stage.world.acts == []


def test_yes_asks_nothing(stage):
    assert stage.run(yes=True) == 0
    assert "[y/N]" not in stage.aside.getvalue()


def test_nothing_to_do_asks_nothing_and_starts_no_run(stage):
    stage.wanted = {"b": "new"}
    assert stage.run() == 0
    assert history(stage).startswith("No runs yet.\n")


def test_a_failure_elsewhere_leaves_the_run_applied_in_part(stage):
    stage.world.fault("a", "refused")
    assert stage.run(yes=True) == 5
    assert stage.world.values["c"] == "new"
    assert "failed: hall: set a: it said no" in stage.output
    output = " ".join(stage.output.split())
    assert (
        "Applied in part: 1 done, 1 failed; no further changes are planned now, 2 of 3 nodes are as desired"
        in output
    )
    assert "error: a is stalled: set was sent once with a definite refusal (it said no;" in output


def test_nothing_applied_is_status_1(stage):
    stage.wanted = {"a": "new"}
    stage.world.fault("a", "refused")
    assert stage.run(yes=True) == 1


def test_a_silent_node_makes_a_run_partial(stage):
    stage.world.silent.add("a")
    assert stage.run(yes=True) == 5
    assert stage.world.values["c"] == "new"
    assert "no further changes are planned now, 2 of 3 nodes are as desired; 1 error" in stage.output


def test_a_silent_node_and_nothing_else_to_do_is_status_1(stage):
    stage.wanted = {"a": "new", "b": "new"}
    stage.world.silent.add("a")
    assert stage.run(yes=True) == 1


def test_a_node_that_changed_between_plan_and_apply_is_status_4(stage):
    stage.wanted = {"a": "new"}

    def meddle(question):
        stage.world.values["a"] = "else"
        return True

    stage.monkeypatch.setattr(Terminal, "confirm", lambda self, question: meddle(question))
    stage.answering("")
    assert stage.run() == 4
    assert stage.world.acts == []


def test_an_earlier_run_that_was_killed_is_settled_first(stage):
    stage.wanted = {"a": "new"}
    stage.world.fault("a", "killed after")
    with pytest.raises(support.Killed):
        stage.run(yes=True)
    assert stage.run(yes=True) == 0
    assert stage.world.acts == ["a"]
    assert "An earlier run did not finish. Settled 1 step" in stage.aside.getvalue()


def test_json_of_a_dry_run_is_one_document(stage):
    assert stage.run(planning=True, format=PlanFormat.JSON) == 0
    document = json.loads(stage.output)
    assert set(document) == {"plan", "ids", "violations", "overridden", "warnings", "exit", "pins"}
    assert [step["node"] for step in document["plan"]["clusters"][0]["steps"]] == ["a", "c"]


@pytest.mark.parametrize("wanted", [{"a": "new"}, {"b": "new"}, {"a": "forbidden"}])
def test_json_of_a_run_is_one_document_with_its_report(stage, wanted):
    stage.wanted = wanted
    status = stage.run(yes=True, format=PlanFormat.JSON)
    document = json.loads(stage.output)
    assert document["report"]["succeeded"] is True
    assert (document["remaining"] is None) == (wanted != {"a": "new"})
    assert bool(document["violations"]) == (status == 3)


def test_markdown_of_a_run_ends_with_its_report(stage):
    assert stage.run(yes=True, format=PlanFormat.MARKDOWN) == 0
    assert stage.output.startswith("<!-- reconcile: plan -->\n### 2 changes on 1 cluster.")
    assert "### Done: 2 changes; verified: no changes" in stage.output
    assert "done" in stage.aside.getvalue()


def test_only_restricts_to_one_node(stage):
    assert stage.run(yes=True, only="a") == 0
    assert stage.world.values == {"a": "new", "b": "new", "c": "old"}


def test_facts_of_earlier_runs_are_recalled_by_a_dry_run_that_writes_nothing(stage, monkeypatch):
    assert stage.run(yes=True) == 0
    before = (stage.folder / FILE).read_bytes()
    seen = []
    surveyed = reader.run_plan_pass

    async def plan_result(fleet, **named):
        seen.append(named["recalled"].list_node_facts("hall")["a"]["set_by_us"])
        return await surveyed(fleet, **named)

    monkeypatch.setattr(reader, "run_plan_pass", plan_result)
    assert stage.run(planning=True) == 0
    assert seen == ["new"]
    assert (stage.folder / FILE).read_bytes() == before


def history(stage) -> str:
    """What `reconcile history` prints of the stage's runs."""
    kept = io.StringIO()
    with contextlib.redirect_stdout(kept):
        assert main(["history", "--state", str(stage.folder)]) == 0
    return kept.getvalue()
