"""Typical plans and runs in every format, as golden files."""

import json
from dataclasses import replace

import pytest
from support.cli_samples import EMPTY, ENDED, FULL, HOSTILE, LIVE, NOTHING, PLAN, REFUSED, partial, report

from reconciler.cli.render import json as as_json
from reconciler.cli.render import markdown, text

VIEWS = {"full": FULL, "refused": REFUSED, "nothing": NOTHING, "hostile": HOSTILE}


@pytest.mark.parametrize("name", VIEWS)
def test_a_plan_as_text(name, golden):
    golden(f"render/plan-{name}.txt", text.render_plan_text(VIEWS[name]))


@pytest.mark.parametrize("name", VIEWS)
def test_a_plan_as_markdown(name, golden):
    golden(f"render/plan-{name}.md", markdown.render_plan_markdown(VIEWS[name]))


@pytest.mark.parametrize("name", ["refused", "nothing"])
def test_a_plan_as_json(name, golden):
    golden(f"render/plan-{name}.json", as_json.render_plan_json(VIEWS[name], ENDED))


def test_a_narrow_coloured_plan(golden):
    golden(
        "render/plan-colour.txt",
        text.render_plan_text(REFUSED, layout=text.TerminalLayout(width=60, colour=True)),
    )


def test_a_partial_run(golden):
    remaining = replace(PLAN, clusters=(LIVE,))
    golden("render/run-partial.txt", text.render_report_text(partial(), remaining))
    golden("render/run-partial.md", markdown.render_report_markdown(partial(), remaining))


def test_a_run_as_json(golden):
    view = replace(REFUSED, violations=())
    golden("render/run.json", as_json.render_run_json(view, report(plan=view.plan), EMPTY, ENDED))


def test_json_gives_the_plan_with_the_id_of_each_cluster():
    output = json.loads(as_json.render_plan_json(FULL, ENDED))
    assert output["ids"] == PLAN.ids
    assert output["plan"] == json.loads(PLAN.encode())
    assert [item["code"] for item in output["overridden"]] == ["blast-radius"]
    assert output["warnings"][0]["line"] == 2
