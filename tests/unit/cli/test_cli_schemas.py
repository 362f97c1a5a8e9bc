"""`reconcile schemas`, and the files in schemas/, which are what it writes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from reconciler.cli.main import main
from reconciler.cli.render.json import make_plan_schema
from reconciler.cli.schema_table import SCHEMAS, SUFFIX, format_schema
from reconciler.core.fields import StrictModel
from reconciler.core.policy import Policy
from reconciler.desired.fleet_file import FleetFile
from reconciler.drivers.registry import DRIVERS

ROOT = Path(__file__).parents[3]
CASES = ROOT / "tests/cases/render"
MAKE = "make them anew: reconcile schemas --write schemas"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_file_in_schemas_is_up_to_date(name):
    assert (ROOT / "schemas" / f"{name}{SUFFIX}").read_text(encoding="utf-8") == format_schema(name), MAKE


def test_the_folder_of_schemas_has_no_other_file():
    assert {path.name for path in (ROOT / "schemas").iterdir()} == {f"{name}{SUFFIX}" for name in SCHEMAS}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid_and_has_its_own_id(name):
    schema = SCHEMAS[name]()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:reconciler:schema:{name}"
    assert schema["title"]
    assert schema["description"]


KNOWN = {
    *("$schema", "$id", "$ref", "$defs", "title", "description", "default", "examples", "format"),
    *("type", "properties", "required", "items", "enum", "const", "additionalProperties", "pattern"),
    *("minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "minItems", "maxItems"),
    *(
        "uniqueItems",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "if",
        "then",
        "else",
        "propertyNames",
        "maxProperties",
    ),
}


def keywords(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from keywords(item)
    elif isinstance(node, dict):
        yield from node
        for key, value in node.items():
            if key in {"properties", "$defs"}:
                for inner in value.values():
                    yield from keywords(inner)
            elif key not in {"default", "examples", "enum", "const"}:
                yield from keywords(value)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_keyword_of_a_schema_is_known(name):
    assert set(keywords(SCHEMAS[name]())) <= KNOWN


def fields(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, inner in node.get("properties", {}).items():
            if isinstance(inner, dict):
                yield f"{path}/{key}", inner
        for key, inner in node.get("$defs", {}).items():
            yield from fields(inner, f"{path}/{key}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_has_a_description(name):
    silent = [path for path, field in fields(SCHEMAS[name]()) if not field.get("description")]
    assert silent == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_examples_and_defaults_fit_what_they_are_examples_of(name):
    schema = SCHEMAS[name]()
    for path, field in fields(schema):
        judge = Draft202012Validator({**field, "$defs": schema["$defs"]})
        for value in [*field.get("examples", []), *([field["default"]] if "default" in field else [])]:
            assert judge.is_valid(value), f"{path}: {value!r}"


LAX = {int: "Whole", float: "Number", bool: "Flag"}


def models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from models(inner)


def lax(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    seen.add(model)
    for name, field in model.model_fields.items():
        strict = any(getattr(each, "strict", False) for each in field.metadata)
        if field.annotation in LAX and not strict:
            yield f"{model.__name__}.{name} should be a {LAX[field.annotation]} of core.strict"
        for inner in models(field.annotation):
            if inner not in seen and issubclass(inner, StrictModel):
                yield from lax(inner, seen)


def test_numbers_and_flags_of_the_fleet_file_are_not_read_from_text():
    seen: set[type[BaseModel]] = set()
    every = [FleetFile, Policy, *(DRIVERS[kind].entry for kind in DRIVERS)]
    assert [one for model in every for one in lax(model, seen)] == []


def keys(value: Any, node: Any, parts: dict[str, Any], path: str = "") -> Iterator[str]:
    """Keys of a document that its schema does not describe."""
    node = parts[node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    if "anyOf" in node and value is not None:
        node = next(each for each in node["anyOf"] if each.get("type") != "null")
        yield from keys(value, node, parts, path)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item, node["items"], parts, path)
    elif isinstance(value, dict) and "properties" in node:
        for key, inner in value.items():
            if key not in node["properties"]:
                yield f"{path}/{key}"
            else:
                yield from keys(inner, node["properties"][key], parts, f"{path}/{key}")


@pytest.mark.parametrize("path", [*CASES.glob("plan-*.json"), CASES / "run.json"], ids=lambda path: path.name)
def test_output_of_the_program_fits_its_schema(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    schema = make_plan_schema()
    assert list(keys(document, schema, schema["$defs"])) == []


def test_one_schema_is_printed(capsys):
    assert main(["schemas", "setting.feed"]) == 0
    assert capsys.readouterr().out == format_schema("setting.feed")


def test_all_schemas_are_listed(capsys):
    assert main(["schemas"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(SCHEMAS)


def test_all_schemas_are_written_into_a_folder(tmp_path, capsys):
    folder = tmp_path / "new" / "schemas"
    assert main(["schemas", "--write", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == {f"{name}{SUFFIX}" for name in SCHEMAS}
    assert (folder / f"plan{SUFFIX}").read_text(encoding="utf-8") == format_schema("plan")
    assert str(folder / f"fleet{SUFFIX}") in capsys.readouterr().out


def test_an_unknown_name_is_refused_with_a_suggestion(capsys):
    assert main(["schemas", "fleat"]) == 1
    assert "did you mean fleet?" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["schemas", "--write", str(tmp_path / "file")]) == 1
    assert "cannot write to" in capsys.readouterr().err
