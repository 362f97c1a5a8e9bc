"""Every act there is: in the API, as a command, with `--server` and as a form, with one role and one name."""

import importlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from reconciler.api.acts import ACTS
from reconciler.cli.command_table import COMMANDS
from reconciler.core.actor import Actor
from reconciler.core.memory import Suspension
from reconciler.core.reservations import Reservation
from reconciler.core.roles import AccessRole, Grant
from reconciler.planning.node_conditions import NodeCondition
from reconciler.ports.store import ApprovalRequest, OpenOrders
from reconciler.server.access.identity import SOMEBODY_LOCAL, Identity, LoginMethod
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.acts.act_parser import parse_act
from reconciler.server.acts.service import ActService, get_needed_role
from reconciler.server.json_api.openapi import make_api_document
from reconciler.server.pages.act_endpoint import read_values
from reconciler.server.request_problems import RequestProblem
from reconciler.server.views import act_forms, act_results

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
WHO = Actor("kim")
DOCS = Path(__file__).parents[4] / "docs"
WRITTEN = {
    "reason": "it looks odd",
    "revision": "v1",
    "targets": "a.example/x",
    "until": "4h",
    "seconds": "900",
}
"""What somebody writes into the fields of forms."""


def list_all_forms(allows=lambda role, cluster: True):
    """Every form that some page has, in one state of the fleet or another."""
    hold = Reservation(
        id="h", cluster="edge", node="n1", actor=WHO, at=NOW, until=NOW + timedelta(hours=1), is_hold=True
    )
    pin = rejection = SimpleNamespace(cluster="edge")
    busy = OpenOrders(
        suspensions=(Suspension("edge", "why", "kim", NOW), Suspension("", "why", "kim", NOW)),
        rejections=(rejection,),
        requests=(ApprovalRequest("edge", "ab" * 32, "s", "1 step", NOW),),
        holds=(hold, replace(hold, id="r", is_hold=False)),
        pins=(pin,),
    )
    cluster = SimpleNamespace(name="edge", counts=(SimpleNamespace(state=NodeCondition.STALLED.value),))
    node = SimpleNamespace(cluster="edge", name="n1", state=NodeCondition.STALLED.value)
    for orders in (OpenOrders(), busy):
        yield from act_forms.list_fleet_forms(orders, allows)
        yield from act_forms.list_cluster_forms(cluster, orders, allows)
        yield from act_forms.list_node_forms(node, orders, allows)
        yield from act_forms.list_plan_forms("edge", "ab" * 32, orders, allows)
        yield from act_forms.list_order_forms(orders, allows)


def fill_in(form, **changes):
    """The act that a form sends."""
    values = {one.name: WRITTEN[one.name] for one in form.fields} | dict(form.hidden) | changes
    return parse_act(act_forms.PAGE_ACTS[form.act], read_values(values), "")


@pytest.fixture(params=ACTS, ids=lambda kind: kind.name)
def kind(request):
    return request.param


def test_an_act_is_an_operation_of_the_api(kind):
    operation = make_api_document()["paths"][f"/api/v1/acts/{kind.name}"]["post"]
    assert operation["summary"] == kind.summary
    assert kind.summary.endswith(".")


def test_an_act_is_a_command_which_a_server_can_perform(kind):
    module = importlib.import_module(COMMANDS[kind.name].module)
    options = {name for one in typer.main.get_command(module.app).params for name in one.opts}
    assert {"--server", "--token-file", "--by", "--reason"} <= options


def test_an_act_has_a_form_on_a_page_whose_values_are_its_own(kind):
    forms = [one for one in list_all_forms() if one.act == kind.name]
    assert forms
    for form in forms:
        assert isinstance(fill_in(form), kind)
        fields = {one.name: one for one in form.fields}
        assert "reason" in fields, "each act has a field for why"
        for name in (name for name, one in fields.items() if one.is_needed):
            with pytest.raises(RequestProblem):
                fill_in(form, **{name: " "})


async def test_an_act_needs_one_role_on_pages_and_as_an_operation(kind):
    needed = get_needed_role(kind)
    for role in AccessRole:
        shown = {one.act for one in list_all_forms(lambda asked, _, role=role: asked is role)}
        assert (kind.name in shown) == (role is needed)
    service = ActService(None, SimpleNamespace(info=lambda *_, **__: None))
    act = fill_in(next(one for one in list_all_forms() if one.act == kind.name))
    for role in set(AccessRole) - {needed}:
        with pytest.raises(AccessRefused, match=needed) as caught:
            await service.perform(act, Identity("kim", LoginMethod.OIDC, (Grant(role),)))
        assert caught.value.status == 403
    with pytest.raises(AccessRefused) as caught:
        await service.perform(act, SOMEBODY_LOCAL)
    assert caught.value.status == 401


def test_the_result_of_an_act_has_a_title_of_its_own_or_a_plan_first(kind):
    is_planned = "plan" in kind.model_fields and kind.name != "approve"
    assert is_planned or kind.name in act_results.TITLES


def test_an_act_is_in_the_documents(kind):
    words = kind.name.replace("rollback", "roll back").replace("-", " ")
    row = re.search(rf"\| `{get_needed_role(kind)}` \|.*", (DOCS / "access.md").read_text("utf-8"))[0]
    assert words in row.replace("approve plans", "approve")
    assert f"`{kind.name}`" in (DOCS / "server-api.md").read_text("utf-8")
    acts = (DOCS / "dashboard.md").read_text("utf-8").split("| page | acts |")[1].split("\n\n")[0]
    assert words.replace("allow stop", "ask whether it may be stopped") in acts
