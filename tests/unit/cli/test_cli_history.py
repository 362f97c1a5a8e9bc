"""The history as text and as JSON."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from support.cli_samples import PLAN, partial

from reconciler.cli.main import main
from reconciler.cli.render import history
from reconciler.core.actor import Actor
from reconciler.core.diff import Change, Op
from reconciler.descriptions.run_results import describe_run_result
from reconciler.ports.store import JournalEntry, MessageRecord, RunRecord, RunSummary

START = datetime(2026, 11, 21, 3, 44, 55, tzinfo=UTC)
BODY = json.dumps({"messageVer": "1", "userdata": "4be6bbe", "setting": {"big": "x" * 5000}})


def line(**others) -> RunSummary:
    made = RunSummary(
        id="20261121-034455-k7fm",
        trigger="command",
        source=PLAN.revision.source,
        revision=PLAN.revision.id,
        short=PLAN.revision.short,
        title=PLAN.revision.title,
        program="0.1.0",
        digest=PLAN.digest,
        started=START,
        finished=START + timedelta(seconds=12.3),
        exit_status=5,
        note="",
        counts={"done": 38, "failed": 3, "waiting": 1, "skipped": 1},
    )
    return replace(made, **others)


def record() -> RunRecord:
    entries = [
        JournalEntry(
            step=outcome.step,
            intended=START,
            ended=START,
            state=outcome.state,
            reason=outcome.reason,
            seconds=outcome.seconds,
            answer="accepted",
            waiting_for_restart=outcome.waiting_for_restart,
        )
        for outcome in partial().outcomes
    ]
    messages = (
        MessageRecord(
            "m1", entries[0].step.id, START, BODY, wanted=True, delivered=START, attempts=1, error=""
        ),
        MessageRecord(
            "m2", entries[1].step.id, START, BODY, True, None, 3, "http://127.0.0.1:9000: answered 503"
        ),
        MessageRecord(
            "m3", entries[2].step.id, START, "{broken", wanted=False, delivered=None, attempts=0, error=""
        ),
    )
    return RunRecord(line(), PLAN, tuple(entries), messages)


def test_runs_as_a_table(golden):
    runs = [
        line(),
        line(id="20261121-030000-0000", exit_status=3, counts={}, note="live: one too few"),
        line(id="20261120-230000-aaaa", exit_status=None, finished=None, counts={"done": 1, "open": 42}),
        line(id="20261120-220000-bbbb", exit_status=0, counts={"done": 43}, trigger="webhook\x1b[2J"),
    ]
    golden("render/history.txt", history.render_runs(runs))
    golden("render/history.json", history.render_runs_json(runs))


def test_a_run_whose_steps_were_all_settled_as_done_is_done():
    settled = line(counts={"done": 2})
    assert describe_run_result(settled) == "done: 2 changes"
    assert (
        describe_run_result(replace(settled, note="edge: wave 2 failed its gates"))
        == "applied in part: 2 changes"
    )


def test_a_run_that_was_stopped_before_it_sent_anything_has_not_failed():
    assert describe_run_result(line(exit_status=1, counts={"skipped": 2})) == "2 not done"
    assert describe_run_result(line(exit_status=1, counts={"skipped": 2, "failed": 1})) == (
        "failed: 1 failed, 2 not done"
    )


def test_an_empty_history_is_one_sentence():
    assert history.render_runs([]) == ""
    assert history.render_runs_json([]) == "[]\n"


def test_a_run_in_full(golden):
    golden("render/history-run.txt", history.render_run_record(record()))


def test_a_run_as_json_has_the_messages_whole():
    output = json.loads(history.render_run_record_json(record()))
    assert [message["body"] for message in output["messages"]] == [
        json.loads(BODY),
        json.loads(BODY),
        "{broken",
    ]
    assert output["steps"][0]["state"] == "failed"
    assert output["plan"] == json.loads(PLAN.encode())
    assert "hunter" not in json.dumps(output)


def test_reading_an_empty_history_creates_no_folder(tmp_path, capsys):
    folder = tmp_path / "state"
    assert main(["history", "--state", str(folder)]) == 0
    assert (
        capsys.readouterr().out
        == f"No runs yet.\nState: {folder} (--state)\nWatch: none is running on this host with this state\n"
    )
    assert main(["history", "show", "x", "--state", str(folder)]) == 1
    assert "there is no run 'x'" in capsys.readouterr().err
    assert not folder.exists()


def test_the_history_shows_the_id_that_was_approved():
    found = record()
    ids = [found.plan.ids[one.cluster][:12] for one in found.plan.clusters]
    shown = history.render_run_record(found)
    assert len(set(ids)) > 1
    assert all(
        f"{one.cluster}, plan {id_}" in shown for one, id_ in zip(found.plan.clusters, ids, strict=True)
    )


def test_a_run_shows_who_asked_for_it_and_why():
    kim = Actor("kim", "ops-1", "pts/3", "lee", "the new lists")
    shown = history.render_run_record(replace(record(), summary=line(actor=kim)))
    assert "started by    kim on ops-1 at pts/3, on behalf of lee (not checked) (command)" in shown
    assert "reason        the new lists" in shown


def test_differences_may_be_of_any_value():
    found = record()
    (first, *rest) = found.entries
    change = Change("/list", Op.REPLACE, [1, {"a": 2}], {"b": [3]})
    step = replace(first.step, changes=(change,))
    shown = history.render_run_record(replace(found, entries=(replace(first, step=step), *rest)))
    assert "/list" in shown
