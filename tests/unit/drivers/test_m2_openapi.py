"""The OpenAPI pieces of M2's routes agree with what the routes do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from reconciler.drivers.m2.central_server import openapi
from reconciler.drivers.m2.product import DRIVER

CASES = Path(__file__).parents[2] / "cases/schemas"
SERVER = DRIVER.central_server()


@pytest.mark.parametrize("route", SERVER.routes, ids=lambda route: route.path)
def test_every_route_is_described_with_its_methods(route):
    item = SERVER.describe(route)
    assert [method.upper() for method in item] == list(route.methods)
    for operation in item.values():
        assert operation["summary"]
        assert operation["responses"]
    assert "$ref" not in json.dumps(item)
    assert "$id" not in json.dumps(item)


def test_the_schema_of_reports_is_valid_itself():
    Draft202012Validator.check_schema(openapi.make_report_schema())


@pytest.mark.parametrize("path", sorted(CASES.glob("*.feedback.*.json")), ids=lambda path: path.stem)
def test_a_sample_is_a_report_of_exactly_one_kind(path):
    message = json.loads(path.read_text(encoding="utf-8"))
    valid = [
        index
        for index, schema in enumerate(openapi.make_report_schema()["oneOf"])
        if Draft202012Validator(schema).is_valid(message)
    ]
    assert len(valid) == 1
