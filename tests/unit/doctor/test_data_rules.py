"""What `reconcile doctor` makes of a store and of the signers; and what a report shows and hides."""

from dataclasses import replace

import pytest

from reconciler.doctor.data_rules import judge_signers, judge_store
from reconciler.doctor.facts import SignerFacts
from reconciler.doctor.findings import (
    DoctorReport,
    FindingState,
    Topic,
    list_error_findings,
    report_error,
    report_ok,
    report_unchecked,
    report_warning,
)
from reconciler.errors import SourceError
from reconciler.exit_status import ExitStatus
from reconciler.ports.store_condition import StoreCondition

OK, WARNING, ERROR, UNCHECKED = FindingState
STORE = StoreCondition("/s/state.sqlite", is_present=True, version=5, supported=5, readable_from=5)
SIGNERS = SignerFacts("ssh", "/allowed", 2, {"ssh-keygen": True})


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({}, [OK], "schema version 5, no fault"),
        ({"is_present": False, "version": 0}, [OK], "no records yet"),
        ({"holders": ("process 7 holds a.lock",)}, [OK, OK], "process 7 holds a.lock"),
        ({"is_foreign": True}, [ERROR], "another program"),
        ({"problems": ("page 3 is bad",)}, [ERROR], "damaged: page 3 is bad"),
        ({"version": 4, "readable_from": 4}, [WARNING], "will migrate it to 5"),
        ({"version": 9, "readable_from": 9}, [ERROR], "a newer version of this program"),
        ({"version": 9, "readable_from": 5, "server": "18.6"}, [OK], "PostgreSQL 18.6, schema version 9"),
        ({"is_whole": False}, [OK, UNCHECKED], "not all of it was examined"),
        ({"is_standby": True}, [ERROR, OK], "only reads"),
        ({"missing_rights": ("write the table run",)}, [ERROR, OK], "may not write the table run"),
    ],
)
def test_each_condition_of_a_store_is_told(changes, expected, words):
    found = list(judge_store(replace(STORE, **changes)))
    assert [one.state for one in found] == expected
    assert any(words in one.what for one in found)
    assert all(one.remedy for one in found if one.state is not OK)


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({}, OK, "can be verified"),
        ({"keys": 0}, ERROR, "has no key"),
        ({"programs": {"ssh-keygen": False}}, ERROR, "ssh-keygen is not installed"),
    ],
)
def test_signatures_that_cannot_be_verified_are_told(changes, state, words):
    (found,) = judge_signers(replace(SIGNERS, **changes))
    assert (found.state, words in found.what) == (state, True)


def test_a_report_is_sorted_by_topic_and_only_an_error_changes_the_exit_status():
    fine = [
        report_ok(Topic.CLOCK, "c"),
        report_warning(Topic.DISK, "d", "r"),
        report_unchecked(Topic.NODES, "n"),
    ]
    report = DoctorReport.of(fine)
    assert [one.what for one in report.findings] == ["d", "n", "c"]
    assert report.exit_status is ExitStatus.DONE
    assert DoctorReport.of([*fine, report_error(Topic.STORE, "s", "r")]).exit_status is ExitStatus.ERROR


def test_a_report_shows_no_secret_wherever_a_sentence_quotes_one():
    error = SourceError(
        "https://me:hunter2hunter2@git.example/ says tok-4711-abcdef\x1b[31m", remedy="tok-4711-abcdef"
    )
    (found,) = DoctorReport.of(list_error_findings(Topic.SOURCE, error), ["tok-4711-abcdef"]).findings
    assert "hunter2" not in found.what
    assert "4711" not in f"{found.what}{found.remedy}"
    assert "\x1b" not in found.what
