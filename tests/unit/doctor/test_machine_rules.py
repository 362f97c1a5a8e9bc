"""What `reconcile doctor` makes of facts about a machine: each planted fault is found, and nothing else."""

import re
from dataclasses import replace

import pytest

from reconciler.doctor.facts import (
    ConfigurationFacts,
    DiskFacts,
    LibraryFact,
    LimitFacts,
    PathFacts,
    ServiceFacts,
    VersionFacts,
)
from reconciler.doctor.findings import FindingState
from reconciler.doctor.machine_rules import (
    judge_configuration,
    judge_disk,
    judge_limits,
    judge_mask,
    judge_paths,
    judge_service,
    judge_versions,
)

OK, WARNING, ERROR, UNCHECKED = FindingState
GIGABYTE = 1024**3
VERSIONS = VersionFacts(
    "1.0", (3, 11, 7), (3, 40, 1), (LibraryFact("orjson", "3.10", "3.11.4"),), "git version 2.39.5"
)
DISK = DiskFacts("/s", 50 * GIGABYTE, 1_000_000, 900_000)
PATH = PathFacts("the state folder", "/s", mode=0o700, owner=7, user=7)
LIMITS = LimitFacts(65_536, 0, 100)
SERVICE = ServiceFacts("reconcile.service", ("/s",), "/s")
KAFKA = LibraryFact("confluent-kafka", "2.16", "", "kafka", "`kafka` of the host configuration")


def states(findings):
    return [one.state for one in findings]


def only_problem(findings, state, words):
    """The one finding that is not good, which has to say these words and what to do."""
    bad = [one for one in findings if one.state is not OK]
    assert states(bad) == [state], bad
    assert re.search(words, f"{bad[0].where}: {bad[0].what}"), bad
    assert bad[0].remedy
    return bad[0]


@pytest.mark.parametrize(
    ("judge", "facts"),
    [
        (judge_versions, VERSIONS),
        (judge_disk, DISK),
        (judge_disk, replace(DISK, inodes=0, free_inodes=0)),
        (judge_paths, (PATH, replace(PATH, is_missing=True, may_be_missing=True))),
        (judge_mask, 0o022),
        (judge_mask, 0o077),
        (judge_limits, LIMITS),
        (judge_limits, replace(LIMITS, nodes=None)),
        (judge_service, SERVICE),
        (judge_configuration, ConfigurationFacts("/h", {"ssh": ("a",)})),
        (judge_configuration, ConfigurationFacts("")),
        (judge_versions, replace(VERSIONS, libraries=(replace(KAFKA, user=""),))),
        (judge_paths, (replace(PATH, owner=0, mode=0o755),)),
    ],
)
def test_a_machine_that_is_as_it_should_be_has_no_problem(judge, facts):
    assert {*states(judge(facts))} <= {OK}


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"python": (3, 10, 9)}, ERROR, "Python 3.10.9 is too old"),
        ({"sqlite": (3, 31, 0)}, ERROR, "SQLite 3.31.0 is too old"),
        ({"git": "git version 2.25.1"}, ERROR, "git 2.25.1 is too old"),
        ({"git": "git version 2.25.1", "needs_git": False}, WARNING, "git 2.25.1 is too old"),
        ({"git": "who knows"}, ERROR, "does not tell its version"),
        ({"git": "", "git_problem": "not on the PATH"}, ERROR, "cannot be run: not on the PATH"),
        (
            {"libraries": (LibraryFact("orjson", "3.10", "3.9.15"),)},
            ERROR,
            "orjson 3.9.15 is older than 3.10",
        ),
        ({"libraries": (LibraryFact("orjson", "3.10", ""),)}, ERROR, "orjson is not installed"),
        ({"libraries": (KAFKA,)}, ERROR, "confluent-kafka is not installed, which `kafka` of"),
    ],
)
def test_what_is_too_old_or_missing_is_named(changes, state, words):
    only_problem(judge_versions(replace(VERSIONS, **changes)), state, words)


def test_an_extra_is_named_in_the_command_that_installs_it():
    found = only_problem(judge_versions(replace(VERSIONS, libraries=(KAFKA,))), ERROR, "confluent")
    assert "fleet-reconciler[kafka]" in found.remedy


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"free": 0}, ERROR, "/s: the disk is full"),
        ({"free": 300 * 1024**2}, WARNING, "nearly full: 300"),
        ({"free_inodes": 5}, ERROR, "room for 5 more files"),
        ({"free_inodes": 5_000}, WARNING, "room for 5000 more files"),
        ({"is_read_only": True}, ERROR, "read-only"),
    ],
)
def test_a_disk_without_room_is_named(changes, state, words):
    only_problem(judge_disk(replace(DISK, **changes)), state, words)


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        (
            {"problem": "this user cannot read it"},
            ERROR,
            "/s: the state folder cannot be used: this user cannot",
        ),
        ({"is_missing": True}, ERROR, "does not exist"),
        ({"mode": 0o777}, ERROR, "others may write the state folder"),
        ({"mode": 0o640, "is_private": True}, ERROR, r"others may read the state folder \(mode 0640\)"),
        ({"owner": 8}, WARNING, "belongs to user 8, and this is user 7"),
    ],
)
def test_a_file_that_others_can_use_or_this_user_cannot_is_named(changes, state, words):
    only_problem(judge_paths((replace(PATH, **changes),)), state, words)


def test_a_umask_that_lets_others_write_is_named():
    only_problem(judge_mask(0o002), WARNING, "umask 0002")


def test_too_few_open_files_for_the_fleet_are_named_with_the_number_that_is_enough():
    found = only_problem(
        judge_limits(replace(LIMITS, open_files=1024, nodes=1000)), WARNING, "1024 open files"
    )
    assert "LimitNOFILE=4000" in found.remedy


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"state": "/other"}, WARNING, "/other is used"),
        ({"lacks_credentials": True}, ERROR, "names credentials"),
        ({"unit": ""}, UNCHECKED, "not run in a systemd unit"),
    ],
)
def test_a_unit_that_does_not_fit_the_configuration_is_named(changes, state, words):
    only_problem(judge_service(replace(SERVICE, **changes)), state, words)
