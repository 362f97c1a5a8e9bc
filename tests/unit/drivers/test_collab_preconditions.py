"""What is read once more right before a step: changes of files and servers since the plan are noticed."""

import asyncio
import json

import pytest
from support.collab_runs import (
    Site,
    make_config,
    make_entry,
    make_former,
    make_input,
    make_site,
    with_password,
)
from support.collab_worlds import AT_ONCE

from reconciler.core.secret import MASK
from reconciler.core.step_status import StepStatus

NAMES = ("c1", "c2", "c3")
ALONE = make_config(password="", scaling="none")
OPEN_REDIS = b"bind 127.0.0.1\nport 6379\n"


def make_plan(site, action):
    """The plan of a site, and its first step with an action."""
    plan = site.plan()
    return plan, next(step for step in plan.steps if step.action == action)


def perform_until(site, plan, step):
    """Perform the steps of a plan before one of them."""
    for one in plan.steps[: plan.steps.index(step)]:
        site._store(one.arguments.facts_of_intent)
        asyncio.run(site.driver.act(one, site.transports, plan.payloads))
        assert any(site._judge(one).status is StepStatus.DONE for _ in range(6)), one.id


def first_setup():
    """Servers that work alone, and a Redis that is to be restarted with its whole file."""
    site = Site(
        make_site(3, config=ALONE, redis_file=OPEN_REDIS, choices=AT_ONCE),
        make_input(make_entry(NAMES), json.loads(make_config(password="")), {"bind": "127.0.0.1 ::1"}),
    )
    plan, step = make_plan(site, "restart-redis")
    assert step.risk.value == "medium"
    perform_until(site, plan, step)
    assert site._judge(step).status is StepStatus.READY
    return site, step


def change_password():
    """A change of the password up to the step that drops the former one."""
    site = Site(make_site(3), make_input(make_entry(NAMES), json.loads(make_config())))
    site.converge()
    site.cluster_input = make_input(make_entry(NAMES), *with_password("new"))
    plan, step = make_plan(site, "drop-redis-password")
    perform_until(site, plan, step)
    assert site._judge(step).status is StepStatus.READY
    return site, step


def test_a_server_that_works_with_redis_since_the_plan_is_not_paused_without_an_announcement():
    site, step = first_setup()
    site.world.machines["c2"].files["config"].content = make_config(password="")
    site.world.restart("c2")
    verdict = site._judge(step)
    assert (verdict.status, verdict.reason) == (
        StepStatus.CHANGED,
        "c2 works with Redis since the plan was made",
    )
    site.world.kill("c2")
    assert site._judge(step).status is not StepStatus.READY


def test_a_server_that_has_left_counts_too():
    site = Site(
        make_site(3, config=ALONE, redis_file=OPEN_REDIS, choices=AT_ONCE),
        make_input(make_entry(NAMES[:2]), json.loads(make_config(password="")), {"bind": "127.0.0.1 ::1"}),
        prior=make_former(("c3", "192.0.2.3")),
    )
    plan, step = make_plan(site, "restart-redis")
    perform_until(site, plan, step)
    assert site._judge(step).status is StepStatus.READY
    site.world.machines["c3"].files["config"].content = make_config(password="")
    site.world.restart("c3")
    assert site._judge(step).status is StepStatus.CHANGED


def test_a_stopped_redis_that_no_server_uses_is_started():
    site, _ = first_setup()
    site.world.kill("redis")
    site.converge()
    assert site.plan().steps == ()


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_redis_is_not_restarted_with_another_file_than_that_of_the_plan(state):
    site, step = first_setup()
    if state == "stopped":
        site.world.kill("redis")
        _, step = make_plan(site, "restart-redis")
        assert site._judge(step).status is StepStatus.READY
    file = site.world.machines["redis"].files["redis-conf"]
    file.content += b"requirepass other\n"
    verdict = site._judge(step)
    assert (verdict.status, verdict.reason) == (
        StepStatus.CHANGED,
        "the file redis-conf of redis is not the one that was checked",
    )
    site.world.machines["redis"].is_silent = True
    assert site._judge(step).status is StepStatus.UNKNOWN


def test_a_server_is_not_restarted_with_a_file_that_somebody_changed_after_the_switch():
    site = Site(make_site(3), make_input(make_entry(NAMES), json.loads(make_config())))
    site.converge()
    site.cluster_input = make_input(make_entry(NAMES), json.loads(make_config(logging=False)))
    plan, step = make_plan(site, "restart-server")
    perform_until(site, plan, step)
    assert site._judge(step).status is StepStatus.READY
    site.world.machines[step.node].files["config"].content += b"# broken"
    assert site._judge(step).status is StepStatus.CHANGED
    assert site.world.running(step.node)


@pytest.mark.parametrize("name", NAMES)
def test_former_passwords_stay_valid_if_a_config_json_has_one_again(name):
    site, step = change_password()
    file = site.world.machines[name].files["config"]
    file.content = file.content.replace(b":new@", b":old@")
    verdict = site._judge(step)
    assert (verdict.status, verdict.reason) == (
        StepStatus.CHANGED,
        f"the file config of {name} does not have the new password any more",
    )
    site.world.machines[name].is_silent = True
    assert site._judge(step).status is StepStatus.UNKNOWN


def test_a_config_json_that_leads_to_another_redis_does_not_matter():
    site, step = change_password()
    file = site.world.machines["c1"].files["config"]
    file.content = file.content.replace(b":new@127.0.0.1", b":old@192.0.2.77")
    assert site._judge(step).status is StepStatus.READY


def test_the_plan_does_not_tell_the_digests_of_files_with_passwords():
    site = Site(make_site(3), make_input(make_entry(NAMES), json.loads(make_config())))
    site.converge()
    site.cluster_input = make_input(make_entry(NAMES), *with_password("new"))
    _, step = make_plan(site, "restart-server")
    assert step.arguments.plain()["digest"] == MASK
    assert step.arguments.exact_values()["digest"] == step.arguments.digest
    assert step.arguments.digest not in json.dumps(step.plain())
