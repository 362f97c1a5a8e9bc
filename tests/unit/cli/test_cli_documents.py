"""The generated pages in docs/ are up to date; a failure names the command that writes the page."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

from reconciler.cli.command_table import COMMANDS, DEFAULT
from reconciler.cli.options import STATUSES
from reconciler.cli.render.host_reference import render_host_reference
from reconciler.documents.document import parse_document
from reconciler.drivers.m2.setting.check import check_setting
from reconciler.drivers.m2.setting.feeds import CONNECTIONS
from reconciler.drivers.m2.setting.models import SettingFile
from tools.cli_reference import cli_reference
from tools.fleet_reference import fleet_reference
from tools.lint_reference import lint_reference
from tools.setting_reference import setting_reference
from tools.shared_files import SHARE, make_shared_files

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("name", "made", "module"),
    [
        ("cli.md", cli_reference, "cli_reference"),
        ("fleet-file.md", fleet_reference, "fleet_reference"),
        ("host-configuration.md", render_host_reference, "host_reference"),
        ("lints.md", lint_reference, "lint_reference"),
        ("setting.md", setting_reference, "setting_reference"),
    ],
)
def test_a_reference_page_is_up_to_date(name, made, module):
    command = f"python -m tools.{module} > docs/{name}"
    assert (DOCS / name).read_text(encoding="utf-8") == made(), f"run: {command}"


def test_manual_page_and_completions_are_up_to_date():
    kept = {
        str(file.relative_to(SHARE)): file.read_text("utf-8") for file in SHARE.rglob("*") if file.is_file()
    }
    assert kept == make_shared_files(), "run: python -m tools.shared_files"


def test_the_manual_page_has_every_command_with_its_options():
    page = make_shared_files()["man/man1/reconcile.1"]
    for name, command in COMMANDS.items():
        assert re.search(
            rf"^\.SS reconcile {re.escape(name).replace(chr(92) + '-', '.*')}( |$)", page, re.MULTILINE
        )
        for param in typer.main.get_command(import_module(command.module).app).params:
            if param.param_type_name == "option" and not getattr(param, "hidden", False):
                assert any(option.replace("-", "\\-") in page for option in param.opts)
    # A line that begins with a dot or a quotation mark is a request: only those that were meant.
    requests = {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert requests == {'.\\"', ".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BR", ".br"}


EXAMPLE = DOCS.parent / "setting.json.example"
UNSHOWN = {"/env/properties", "/env/network", "/env/rt", "/functions", "/hosting/mode"}
"""Keys that the product's pages name without their content."""


def models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in get_args(kind):
        yield from models(inner)


def missing(model: type[BaseModel], value: Any, path: str = "") -> Iterator[str]:
    """Pointers of a model's fields that a value lacks."""
    if isinstance(value, list):
        for item in value:
            yield from missing(model, item, path)
        return
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key not in value:
            yield f"{path}/{key}"
        elif value[key] is not None:
            for inner in models(field.annotation):
                yield from missing(inner, value[key], f"{path}/{key}")


def test_the_example_shows_every_field_at_its_place_and_is_right():
    document = parse_document("setting.json", EXAMPLE.read_bytes())
    assert set(missing(SettingFile, document.value)) == UNSHOWN
    assert check_setting(document) == []
    server = document.value["env"]["management"]["server"]
    assert {item["type"] for item in server["connection"]} == set(CONNECTIONS)


def test_every_field_has_a_description():
    def silent(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
        seen.add(model)
        for name, field in model.model_fields.items():
            if not field.description:
                yield f"{model.__name__}.{name}"
            for inner in models(field.annotation):
                if inner not in seen:
                    yield from silent(inner, seen)

    assert list(silent(SettingFile, set())) == []


def test_every_command_and_option_is_in_the_reference():
    output = cli_reference()
    for name, module in {"": DEFAULT.module, **{name: one.module for name, one in COMMANDS.items()}}.items():
        command = typer.main.get_command(import_module(module).app)
        assert f"## `{f'reconcile {name}'.strip()}`\n" in output
        for param in command.params:
            if param.param_type_name == "option" and not getattr(param, "hidden", False):
                assert any(re.search(rf"^\| `[^|]*{option}\b", output, re.MULTILINE) for option in param.opts)


def test_every_status_has_its_meaning():
    output = cli_reference()
    assert all(f"| `{status}` | {meaning} |" in output for status, meaning in STATUSES.items())


def test_no_table_row_is_broken_by_a_choice():
    rows = [line for line in cli_reference().splitlines() if line.startswith("|")]
    assert rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
