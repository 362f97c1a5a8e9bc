"""Clusters of Collaboration Servers in the form that the model checker explores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.core.change_windows import Window
from reconciler.core.guard import Guard, GuardContext, run_guards
from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan
from reconciler.core.policy import ChangeRules
from reconciler.core.secret import Secret
from reconciler.drivers.collab import machine
from reconciler.drivers.collab.choices import Choices
from reconciler.drivers.collab.cluster_state import CollabState, ServerState
from reconciler.drivers.collab.delivery import make_span
from reconciler.drivers.collab.modelcheck.model import CollabModel
from reconciler.drivers.collab.modelcheck.world import MODELLED, ModelWorld
from reconciler.drivers.collab.redis_conf import RedisConf
from reconciler.drivers.collab.schema import CollabCluster, CollabDesired, FormerServer
from reconciler.drivers.collab.simulator.files import (
    make_installed_config,
    make_installed_nginx_conf,
    make_installed_redis_conf,
)
from reconciler.drivers.collab.views import CollabView
from reconciler.file_delivery.json_keys import JsonKeys
from reconciler.file_delivery.model import ModelFile
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import Exploration, explore_states
from reconciler.modelcheck.state_table import StateTable

EVERY_DAY = (Window(cron="0 0 * * *", duration="24h"),)
"""Change windows without which a restart of Redis would be refused."""


def make_cluster(count: int) -> CollabCluster:
    """The entry of a cluster with everything managed."""
    return CollabCluster.model_validate(
        {
            "name": "c",
            "kind": "collab",
            "nodes": [{"name": f"s{number}", "host": f"192.0.2.1{number}"} for number in range(count)],
            "config": {"source": "config.json", "file": "config"},
            "redis": {
                "name": "redis",
                "host": "192.0.2.20",
                "source": "redis.json",
                "file": "redis-conf",
                "restart": {"command": "restart-redis"},
            },
            "loadBalancer": {
                "name": "lb",
                "url": "http://192.0.2.30",
                "file": "nginx",
                "reload": {"command": "reload"},
            },
            "restart": {"command": "restart"},
            "start": {"command": "start"},
            "stop": {"command": "stop"},
        }
    )


def make_values(password: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Keys of a config.json."""
    url = Secret(f"redis://:{password}@192.0.2.20:6379", "${redis}")
    return {"logging": True, "scaling": "horizontal", "redisServerUrl": url, **(changes or {})}


def make_redis_keys(password: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Keys of a redis.conf."""
    return {"bind": "192.0.2.20", "requirepass": Secret(password, "${redis}"), **(changes or {})}


def make_case(
    count: int = 2,
    *,
    passwords: tuple[str, str] = ("p", "p"),
    changes: Mapping[str, Any] | None = None,
    former: Mapping[str, Any] | None = None,
    redis_changes: Mapping[str, Any] | None = None,
    balanced: int | None = None,
    stopped: Collection[int] = (),
    leaving: int = 0,
    is_redis_down: bool = False,
    is_delivered: bool = False,
    unchecked: Collection[str] = (),
    choices: Choices = MODELLED,
) -> tuple[CollabModel, ModelWorld]:
    """A model, and the world in which everything runs with former files.

    Args:
        count: servers in that world.
        passwords: of Redis, before and desired.
        changes: of config.json that are desired.
        former: keys of config.json that differ before.
        redis_changes: of redis.conf that are desired.
        balanced: how many servers the load balancer uses; None for all.
        stopped: numbers of servers that do not run.
        leaving: how many of the servers the fleet file does not name any more.
        is_redis_down: whether Redis does not run.
        is_delivered: whether the servers have their new file, with which they were not restarted yet.
        unchecked: entries of files that the host does not check.
        choices: what the nodes do where the documents are silent.
    """
    before, after = passwords
    entry = make_cluster(count)
    addresses = tuple(server.address for server in entry.nodes)
    config = JsonKeys(make_values(before, former)).render(make_installed_config(3000, {}))
    files = [ModelFile(config) for _ in entry.nodes]
    files.append(ModelFile(RedisConf(make_redis_keys(before)).render(make_installed_redis_conf(6379))))
    used = addresses[:balanced]
    installed = make_installed_nginx_conf("collabServer", used)
    files.append(ModelFile(make_span(entry.balancer, used).render(installed)))
    gone = tuple(FormerServer(one.name, one.host) for one in entry.nodes[count - leaving :])
    entry = entry.model_copy(update={"nodes": entry.nodes[: count - leaving]})
    desired = CollabDesired(
        entry,
        {server.name: make_values(after, changes) for server in entry.nodes},
        make_redis_keys(after, redis_changes),
        former=gone,
        unchecked=frozenset(unchecked),
    )
    model = CollabModel(desired, choices)
    state = CollabState((ServerState(),) * count, addresses)
    loaded = model.load_server(tuple(files), "s0")
    changed = ModelFile(JsonKeys(make_values(after, changes)).render(config))
    wanted = model.load_server((changed,) * count, "s0")
    state = state._replace(databases=frozenset({loaded.database, wanted.database}))
    at_once = replace(choices, start_readings=0)
    if not is_redis_down:
        state = machine.start_redis(state, model.load_redis(tuple(files)), at_once)
    for number in range(count):
        if number not in stopped:
            state = machine.start_server(state, number, loaded, at_once)
    state = machine.start_balancer(state, model.load_balancer(tuple(files)))
    if is_delivered:
        files[:count] = [changed] * count
    return model, ModelWorld(machine.finish_waiting(state), tuple(files))


def explore(
    model: CollabModel,
    world: ModelWorld,
    *,
    faults: int = 1,
    crashes: int = 1,
    passes: int = 2,
    most: int = 400_000,
    guards: Sequence[Guard] = (),
) -> tuple[ClusterPlan, Exploration]:
    """Every execution of the plan that is made in a world; a plan that a guard refuses has no steps."""
    entry = model.desired.entry
    change_rules = ChangeRules(windows=EVERY_DAY if model.is_announced else ())

    def weigh(plan: ClusterPlan, observed: Observed[CollabView]) -> bool:
        context = GuardContext(plan, entry, model.desired, observed, change_rules=change_rules)
        return not run_guards(context, guards)

    table = StateTable(model, weigh, single_node=False)
    executor = ExecutorModel(table)
    plan = table.plans[table.planned(table.number(world))]
    start = executor.under(plan, executor.begin(world, faults=faults, crashes=crashes, passes=passes))
    return plan, explore_states([start], executor.moves, most=most)
