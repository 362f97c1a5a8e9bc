"""Cases for the guards of collab: a plan that the planner has made, and that a test has changed then."""

import json
from dataclasses import replace

from reconciler.core.change_windows import Window
from reconciler.core.guard import GuardContext
from reconciler.core.observation import Present, Unreachable
from reconciler.core.policy import ChangeRules, Policy
from support.collab_runs import Site, make_entry, make_former, make_input, make_site, with_password
from support.collab_worlds import make_config
from support.driver import NOON

CONFIG = json.loads(make_config())
OPEN = ChangeRules(windows=(Window.model_validate({"cron": "0 0 * * *", "duration": "1d"}),))
NAMES = ("c1", "c2", "c3")


def settled(names=NAMES):
    """A cluster that is as desired."""
    site = Site(make_site(len(names)), make_input(make_entry(names), CONFIG))
    site.converge()
    return site


def case(site, *, keep=None, change=None, answers=None, rules=OPEN, **desired):
    """The plan of a site, of which a test keeps some steps, and whose answers it changes afterwards."""
    wanted = replace(site.desired, **desired)
    observed = site.observe(wanted)
    plan = site.driver.plan(wanted, observed)
    steps = plan.steps if keep is None else tuple(step for step in plan.steps if keep(step))
    if change is not None:
        steps = tuple(map(change, steps))
    observed = replace(observed, nodes={**observed.nodes, **(answers or {})})
    entry = site.cluster_input.entry
    return GuardContext(
        replace(plan, steps=steps),
        entry,
        wanted,
        observed,
        policy=Policy(max_risky="100%", max_shrink="100%"),
        revision=site.cluster_input.revision,
        now=NOON,
        change_rules=rules,
    )


def quiet(names=NAMES):
    """A change that restarts every server."""
    site = settled(names)
    site.cluster_input = make_input(make_entry(names), CONFIG | {"logging": False})
    return site


def of_first(step):
    return step.node == "c1"


def without_peer(*, is_away):
    """The restart of one of two servers, while the other one is away or not."""
    answers = {"c2": Unreachable("connection refused")} if is_away else {}
    return case(quiet(("c1", "c2")), keep=of_first, answers=answers)


def without_database(*, is_away):
    """The restart of one of three servers, while another one misses the database or not."""
    site = quiet()
    status = site.observe().nodes["c2"].value
    words = "The following dependent services are unavailable: DB Service"
    paused = Present(replace(status, state="paused", reason=words))
    return case(site, keep=of_first, answers={"c2": paused} if is_away else {})


def together(*, is_chained):
    """Restarts of all servers, each after the one before or not."""
    return case(quiet(), change=None if is_chained else lambda step: replace(step, after=()))


def removal(*, is_forgotten):
    """A server leaves, after the load balancer has forgotten it or not."""
    site = settled()
    site.cluster_input = make_input(make_entry(("c1", "c2")), CONFIG)
    site.prior = make_former(("c3", "192.0.2.3"))
    return case(site, keep=None if is_forgotten else lambda step: step.node != "lb")


def reload(*, is_checked):
    """A reload of the load balancer whose file is checked or not."""
    site = settled()
    site.cluster_input = make_input(make_entry(("c1", "c2")), CONFIG)
    return case(site, unchecked=frozenset() if is_checked else frozenset({"nginx"}))


def new_password(*, is_added):
    """Servers are started with a new password, which Redis accepts by then or not."""
    site = settled()
    config, redis = with_password("new")
    site.cluster_input = make_input(make_entry(NAMES), config, redis)
    return case(site, keep=lambda step: is_added or step.action != "add-redis-password")


def redis_restart(*, rules):
    """Redis gets another `bind`."""
    site = settled()
    site.cluster_input = make_input(make_entry(NAMES), CONFIG, {"bind": "127.0.0.1 ::1"})
    return case(site, rules=rules)


def first_redis_restart(scaling):
    """Redis gets another `bind`, without windows, while its servers show that they work with it, or alone."""
    site = settled()
    site.cluster_input = make_input(make_entry(NAMES), CONFIG, {"bind": "127.0.0.1 ::1"})
    seen = site.observe().nodes
    answers = {
        name: Present(replace(seen[name].value, scaling=own))
        for name, own in zip(NAMES, scaling, strict=True)
    }
    return case(site, answers=answers, rules=ChangeRules())
