"""A document that breaks the models breaks its schema, and the other way round.

What no schema can say is named here by the code or the words of the program, and in the schema's own
description: a document with nothing else wrong may pass its schema or not.
"""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError
from support.memory_files import snapshot_of
from support.schema_documents import Maker, broken, validate_message

from reconciler.cli.host_loader import make_config_model
from reconciler.cli.render.doctor import DoctorShape
from reconciler.cli.render.json import PlanOutput
from reconciler.cli.render.operation_schema import OperationShape, OperationsOutput
from reconciler.cli.render.reservation_schema import AnswerShape
from reconciler.cli.schema_table import SCHEMAS
from reconciler.desired.fleet import read_fleet
from reconciler.diagnostic import Severity
from reconciler.documents.document import parse_document
from reconciler.drivers.collab.config import CollabConfig
from reconciler.drivers.m2.central_server.messages import KINDS
from reconciler.drivers.m2.setting import check
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora.conf import SoraConf
from reconciler.errors import InputError
from reconciler.planning.plan_file import PlanFile

ROOT = Path(__file__).parents[2]
MESSAGES = {
    "message-setting-feed": "setting.feed",
    "message-setting-checkout": "setting.feed",
    "message-setting-feedback": "setting.feedback",
    "message-purge-feed": "purge.feed",
    "message-purge-feedback": "purge.feedback",
    "message-heartbeat": "heartbeat.feedback",
    "message-nodelist-feedback": "nodelist.feedback",
}
CORPUS = sorted((ROOT / "tests/cases/corpus").glob("*/*.json"))
BEYOND = {
    "setting": {
        "unknown-role",
        "unknown-connection",
        "wrong-connection-type",
        "duplicate-name",
        "connection-without-key",
        "empty-bucket",
    },
    "fleet": {
        "duplicate-cluster",
        "wrong-order",
        "wrong-rename",
        "duplicate-node",
        "unknown-node",
        "no-such-file",
        "no-setting",
        "bad-resource",
        "path-outside",
        "encrypted-settings",
        "bad-overlay",
        "bad-patch",
        "patch-path",
        "patch-test-failed",
        "unknown time zone",
        "it ends before it begins",
    },
    "host": {
        "a network must be written with its first address, such as 192.0.2.0/24 or 2001:db8::/32",
        "the path must begin with / and must not contain `..`",
        "secrets must not be in /proc, /dev or /sys",
        "the program must not contain a placeholder",
        "this prefix also matches variables of the program itself",
        "`ssh` passes no `variables` on",
        "`keys` or `agent: true` is needed; nothing else logs in",
        "it names no entry of `ssh`",
        "its jump hosts lead back to it",
        "the `host` of a jump host must be one fixed machine, without a placeholder",
        "a duration is at most 366 days",
    },
    "sora-conf": {"cluster_listen_min_port is above cluster_listen_max_port"},
}
"""Name of a schema -> codes or words of what only the program checks, as far as changes here lead to it."""

API = ("env", "management", "api")
SERVER = ("env", "management", "server")
CLUSTER = ("env", "management", "cluster")
EDGE = ("clusters", 0)
POLL = (*SERVER, "features", "setting", "feed", "info", "schedule")
ONLY_THE_PROGRAM = [
    ("setting", (*API, "defaultRole"), "nobody", "roles and connections that are referred to are defined"),
    ("setting", (*SERVER, "events", "onSettingLoad", "backup", "connect"), "myKafka", "with the right type"),
    (
        "setting",
        (*SERVER, "connection", 1, "name"),
        "myKafka",
        "names of roles, of connections and of virtual hosts are unique",
    ),
    ("setting", (*API, "allowList", 0, "addr"), "10.0.0.9-1", "a range of addresses ends after its start"),
    ("setting", (*API, "allowList", 0, "addr"), "10.0.0.1/8", "a network begins with its first address"),
    ("setting", (*CLUSTER, "stats", "listen"), "[1::2::3]:80", "IPv6 is valid"),
    (
        "setting",
        POLL,
        "0 0 0 31 2 *",
        "the ranges of a cron expression ascend, and its day exists in its months",
    ),
    (
        "setting",
        POLL,
        "9-1 * * * * *",
        "the ranges of a cron expression ascend, and its day exists in its months",
    ),
    ("fleet", (*EDGE, "nodes", 1, "name"), "edge-01", "names of clusters and names of nodes are unique"),
    ("fleet", (*EDGE, "groups", 0, "nodes"), ["x"], "every node, file, address and setting that is named"),
    ("fleet", (*EDGE, "setting"), "y.json", "every node, file, address and setting that is named"),
    ("fleet", (*EDGE, "overlays", 2, "patch", 0, "path"), "/a/b", "a JSON Patch fits the document"),
    ("fleet", ("windows", 0, "timezone"), "Europe/Atlantis", "days and time zones exist"),
    ("fleet", ("overrides", 0, "until"), "2026-02-30", "days and time zones exist"),
    ("fleet", ("freeze", 0, "until"), "2026-12-01", "a freeze ends after it begins"),
    ("fleet", ("rollout", "soak"), "9999d", "a duration is at most 366 days"),
    ("fleet", ("windows", 0, "cron"), "0 2 31 2 *", "its day exists in its months"),
    ("fleet", (*EDGE, "resources"), ["${env:X}"], "references to secrets are in overlays only"),
    ("host", ("networks", 0), "10.0.0.1/8", "a network begins with its first address"),
    ("host", ("state",), "/var/../etc", "a path has no `..`"),
    ("host", ("secrets", "folders", 1), "/proc/self", "no secret folder lies in /proc, /dev or /sys"),
    ("host", ("commands", "stop-sora", "run", 0), "{node}", "the program of a command has no placeholder"),
    ("host", ("secrets", "variables"), "RECONCILE_GIT_", "is not that of the program's own"),
    ("host", ("commands", "stop-sora", "ssh"), "sora", "`ssh` passes no variables on"),
    ("host", ("commands", "restart-sora", "ssh"), "other", "what `ssh` and `jump` name is an entry"),
    ("host", ("ssh", "sora", "jump"), "other", "what `ssh` and `jump` name is an entry"),
    ("host", ("ssh", "bastion", "jump"), "sora", "does not lead back"),
    ("host", ("ssh", "bastion", "host"), "{node}", "a jump host has a fixed `host`"),
    ("host", ("ssh", "bastion", "keys"), [], "a way of `ssh` has a key or an agent"),
    ("host", ("commands", "stop-sora", "timeout"), "9999d", "a duration is at most 366 days"),
    ("sora-conf", ("cluster_listen_min_port",), 50_000, "cluster_listen_min_port is not above"),
]
"""Schema, place and value of what only the program refuses, and how the schema's description says so."""


def changed(document, path, value):
    *parents, last = path
    holder = document
    for key in parents:
        holder = holder[key]
    holder[last] = value
    return document


def setting_faults(document):
    file = parse_document("setting.json", json.dumps(document).encode())
    return [problem.code for problem in check.check_setting(file) if problem.severity is Severity.ERROR]


def fleet_faults(document):
    reading = read_fleet(
        snapshot_of({"fleet.json": json.dumps(document), "setting.json": "{}", "x": "{}"}), DRIVERS
    )
    found = list(reading.problems)
    for cluster_input in reading.fleet.cluster_inputs if reading.fleet else ():
        try:
            DRIVERS[cluster_input.entry.kind].desire(cluster_input)
        except InputError as error:
            found += [
                one for one in error.problems if one.code == "missing-key" or one.pointer.endswith("/address")
            ]
    return [
        next((word for word in BEYOND["fleet"] if word in problem.message), problem.code)
        for problem in found
        if problem.severity is Severity.ERROR
    ]


OUTPUT = TypeAdapter(PlanOutput)
ANSWER = TypeAdapter(AnswerShape)
DOCTOR = TypeAdapter(DoctorShape)
OPERATIONS = TypeAdapter(OperationsOutput | list[OperationShape])


def modelled(validate):
    def faults(document):
        try:
            validate(document)
        except ValidationError as error:
            return [each["msg"].removeprefix("Value error, ") for each in error.errors()]
        return []

    return faults


FAULTS = {
    "setting": setting_faults,
    "fleet": fleet_faults,
    "sora-conf": modelled(SoraConf.model_validate),
    "collab-config": modelled(CollabConfig.model_validate),
    "host": modelled(make_config_model().model_validate),
    "allow-stop": modelled(lambda document: ANSWER.validate_json(json.dumps(document))),
    "doctor": modelled(lambda document: DOCTOR.validate_json(json.dumps(document))),
    "operations": modelled(lambda document: OPERATIONS.validate_json(json.dumps(document))),
    "plan": modelled(lambda document: OUTPUT.validate_json(json.dumps(document))),
    "plan-file": modelled(lambda document: PlanFile.model_validate_json(json.dumps(document))),
    **{kind: modelled(lambda document, kind=kind: validate_message(kind, document)) for kind in KINDS},
}
"""Name of a schema -> what the program says is wrong with a document, as codes or words."""


@cache
def validator(name):
    return Draft202012Validator(SCHEMAS[name]())


def bases(name):
    """Right documents to begin with, in which every part of the schema stands somewhere."""
    found = sorted((ROOT / "tests/cases/schemas").glob(f"{name}.*json"))
    if name == "setting":
        found = [*(path for path in found if path.stem.count(".") == 1), ROOT / "setting.json.example"]
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


def agree(name, document):
    found = set(FAULTS[name](document))
    refusals = [error.message[:200] for error in validator(name).iter_errors(document)]
    beyond, valid = BEYOND.get(name, set()), not refusals
    shown = json.dumps(document, ensure_ascii=False)
    if found - beyond:
        assert not valid, f"only the models refuse {shown}: {sorted(found)}"
    elif not found:
        assert valid, f"only the schema refuses {shown}: {refusals}"
    return valid


@pytest.mark.parametrize("name", SCHEMAS)
def test_right_documents_are_right_for_both(name):
    assert bases(name)
    assert [document for document in bases(name) if not agree(name, document)] == []


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus_is_judged_alike(path):
    try:
        document = parse_document(path.name, path.read_bytes()).value
    except InputError:
        return
    name = MESSAGES.get(path.stem, "setting")
    assert agree(name, document) or path.parent.name == "invalid"


@pytest.mark.parametrize(("name", "path", "value", "refusals"), ONLY_THE_PROGRAM)
def test_what_no_schema_can_say_is_in_its_description(name, path, value, refusals):
    document = changed(bases(name)[-1], path, value)
    assert FAULTS[name](document)
    assert validator(name).is_valid(document)
    assert refusals in SCHEMAS[name]()["description"]


def test_no_schema_keeps_silent_about_what_is_left_out():
    told = {name for name in SCHEMAS if "The program checks besides" in SCHEMAS[name]()["description"]}
    assert told == set(BEYOND)


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_one_change_of_a_right_document_is_judged_alike(name, seed):
    rng = random.Random(seed)
    for _ in range(8):
        document = broken(rng.choice(bases(name)), rng)
        agree(name, document)
        agree(name, broken(document, rng))


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_document_is_judged_alike(name, seed):
    rng = random.Random(seed)
    agree(name, Maker(SCHEMAS[name](), rng).whole())
