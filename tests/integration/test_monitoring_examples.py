"""Alerts and dashboard use what the watch serves, and lead to pages that are there."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "examples" / "prometheus"
RULES = YAML(typ="safe").load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
TESTS = YAML(typ="safe").load((PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8"))["tests"]
DASHBOARD = json.loads((ROOT / "examples" / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
SERVED = {
    name: set(re.findall(r"`(\w+)`", labels))
    for name, labels in re.findall(
        r"^\| `(reconciler_\w+)` \|([^|]*)\|",
        (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
}
"""Name -> labels; another test holds this table against what the watch serves."""

STANDARD = {"up", "process_resident_memory_bytes"}
PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "description", "datasource", "gridPos", "fieldConfig", "targets"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "type": {"enum": ["stat", "timeseries", "table"]},
        "title": {"type": "string", "minLength": 3},
        "datasource": {"const": {"type": "prometheus", "uid": "${datasource}"}},
        "gridPos": {
            "type": "object",
            "required": ["x", "y", "w", "h"],
            "properties": {"x": {"minimum": 0, "maximum": 23}, "w": {"minimum": 1, "maximum": 24}},
            "additionalProperties": {"type": "integer"},
        },
        "targets": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["refId", "expr", "legendFormat"],
                "properties": {"expr": {"type": "string", "minLength": 1}, "refId": {"pattern": "^[A-Z]$"}},
            },
        },
    },
}
SCHEMA = {
    "type": "object",
    "required": ["title", "uid", "schemaVersion", "templating", "panels", "time", "refresh"],
    "properties": {
        "schemaVersion": {"type": "integer", "minimum": 36},
        "uid": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,40}$"},
        "panels": {"type": "array", "minItems": 1, "items": PANEL},
    },
}


def expressions():
    yield from (rule["expr"] for rule in RULES)
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    yield from (one["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query")


def test_every_metric_and_label_is_served():
    for expression in expressions():
        used = set(re.findall(r"\b(?:reconciler|process)_\w+|\bup\b", expression))
        assert used, expression
        for name in used - STANDARD:
            base = re.sub(r"_bucket$", "", name)
            assert base in SERVED, name
            for selector in re.findall(rf"\b{name}\{{([^}}]*)\}}", expression):
                assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= SERVED[base], expression


def test_the_dashboard_has_the_form_of_grafana_and_no_panels_above_each_other():
    jsonschema.validate(DASHBOARD, SCHEMA)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24


def anchors(page):
    for heading in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_what_it_means_and_where_to_read_on(rule):
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    notes = rule["annotations"]
    assert notes["summary"]
    assert notes["description"].endswith(".")
    page, anchor = notes["runbook_url"].split("#")
    assert anchor in set(anchors(ROOT / page))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_tested_firing_and_not_firing(rule):
    own = [one for test in TESTS for one in test["alert_rule_test"] if one["alertname"] == rule["alert"]]
    assert sorted(bool(one.get("exp_alerts")) for one in own) == [False, True]
