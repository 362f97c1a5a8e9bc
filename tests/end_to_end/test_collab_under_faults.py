"""Trials with Collaboration Servers: faults are survived, and what a wrong driver does is found."""

import pytest
from support.collab_trials import CollabTrials
from support.machine_trials import list_breaches, tell

from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.drivers.collab import judge
from reconciler.drivers.collab.product import CollabDriver
from reconciler.drivers.collab.redis_client import RedisClient
from reconciler.drivers.collab.simulator.oracle import BALANCED_STOP, LAST_SERVER, REDIS_PASSWORD
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.scenario import HISTORY_TRUE

FACTORY = "fleet: collab\n"

CHOICES = [
    "collab.healthy_state=active",
    "collab.start_readings=3",
    "collab.paused_readings=4",
    "collab.start_shown=pid",
    "collab.start_shown=up-since",
    "collab.redis_loss=stay-paused",
    "collab.redis_loss=exit",
    "collab.needless_password=refuse",
    "collab.paused_status=503",
    "collab.service_order=redis-first",
    "collab.paused_reason=false",
    "collab.invalid_reload=silent",
]


@pytest.fixture
def trials(tmp_path):
    return CollabTrials(tmp_path)


def test_the_example_holds(trials):
    verdict = trials.play("collab")
    assert verdict.breaches == (), tell(verdict)
    assert any("run the command restart-collab" in line for line in verdict.story)


FAULTS = {
    "a connection that breaks before the first byte": "{fault: torn, node: server-1}",
    "a full disk in every run": "{fault: full, node: server-2, count: null}",
    "a check that refuses": "{fault: refuse, node: server-1, only: files}",
    "a lost answer of a switch": "{fault: lost, node: server-1, at: {change: 2}, only: files}",
    "a file of nginx that somebody edits": "{fault: edited, node: balancer, at: {change: 2}}",
    "a restart that does not come back": "{fault: down, node: server-1}",
    "a restart without an answer": "{fault: lost, node: server-3, only: commands, count: 2}",
    "a server that dies during the run": "{fault: killed, node: server-2, at: {change: 2, to: server-1}}",
    "a Redis that dies during the run": "{fault: killed, node: redis, at: {change: 2, to: server-1}}",
    "a balancer that dies during the run": "{fault: killed, node: balancer, at: {change: 2, to: server-1}}",
    "a Redis that answers something else": "{fault: garbage, node: redis, count: 3}",
    "a server behind a login page": "{fault: garbage, node: server-1, count: 4}",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_changed_config_survives(trials, fault):
    verdict = trials.play(f"faults:\n  - {fault}\nreruns: 2\n")
    assert verdict.breaches == (), tell(verdict)


@pytest.mark.parametrize("choice", CHOICES)
def test_it_holds_whatever_the_documents_leave_open(trials, choice):
    faults = "faults:\n  - {fault: down, node: server-2}\n"
    verdict = trials.play(f"{faults}choices: ['{choice}']\nreruns: 2\n")
    assert verdict.breaches == (), tell(verdict)


@pytest.mark.parametrize("seed", [1, 2, 33, 68, 101])
def test_random_faults_hold(trials, seed):
    verdict = trials.play("random: {faults: 6, kills: 2}\nreruns: 3\n", seed)
    assert verdict.breaches == (), tell(verdict)


def test_a_cluster_in_factory_state_is_set_up_without_windows(trials):
    trials.change("collab/redis.json", "{", '{"tcp-keepalive": 200, ')
    verdict = trials.play("faults: []\n", before=FACTORY)
    assert verdict.breaches == (), tell(verdict)
    assert any("run the command restart-redis" in line for line in verdict.story)


@pytest.mark.parametrize("seed", [1, 10, 30, 34, 40, 82])
def test_with_windows_it_is_set_up_in_spite_of_random_faults(trials, seed):
    # Once a server works with Redis, a further restart of Redis needs them.
    trials.change("collab/redis.json", "{", '{"tcp-keepalive": 200, ')
    windows = '    windows: [{cron: "0 0 * * *", duration: 1d}]\n'
    trials.change("collab/fleet.yaml", "    kind: collab\n", f"    kind: collab\n{windows}")
    verdict = trials.play("random: {faults: 4, kills: 1}\nreruns: 4\n", seed, before=FACTORY)
    assert verdict.breaches == (), tell(verdict)


def test_servers_that_joined_the_load_balancer_in_another_order_are_no_difference(trials):
    verdict = trials.play("random: {faults: 4, kills: 1}\nreruns: 4\n", 16, before=FACTORY)
    assert verdict.breaches == (), tell(verdict)


PASSWORD_FAULTS = {
    "none": "[]",
    "a lost answer of Redis": "[{fault: lost, node: redis, only: changes, count: 2}]",
    "half an answer of Redis": "[{fault: half, node: redis, count: 3}]",
    "a Redis that dies after its first change": "[{fault: killed, node: redis, at: {change: 1, to: redis}}]",
    "a Redis that is restarted": "[{fault: restarted, node: redis, at: {change: 3}}]",
    "a disk of Redis that is full": "[{fault: full, node: redis, count: 1}]",
    "a server that does not come back": "[{fault: down, node: server-2}]",
}


@pytest.mark.parametrize("faults", PASSWORD_FAULTS.values(), ids=PASSWORD_FAULTS)
def test_a_changed_password_survives(trials, faults):
    trials.set_passwords("OLD_PASSWORD", "NEW_PASSWORD")
    verdict = trials.play(f"faults: {faults}\nreruns: 3\n")
    assert verdict.breaches == (), tell(verdict)
    assert any("change of Redis" in line for line in verdict.story)


class WrongDriver(CollabDriver):
    """A driver that does something else beside each restart."""

    def __init__(self, act=None):
        super().__init__()
        self._act = act

    def with_host_config(self, config):
        return self

    async def act(self, step, transports, payloads):
        if step.action == "restart-server" and self._act is not None:
            await self._act(step, transports)
        return await super().act(step, transports, payloads)


async def restart_all(step, ways):
    for number in (1, 2, 3):
        await ways.commands.run("restart-collab", {}, node=f"server-{number}")
        await ways.http.send("GET", step.arguments.status, node=step.node, timeout=5)


async def stop_another(step, ways):
    if step.node == "server-1":
        await ways.commands.run("stop-collab", {}, node="server-2")


async def set_another_password(step, ways):
    if step.node == "server-1":
        own = step.arguments
        redis = RedisClient(ways.streams, own.redis, own.address, own.timeout, logins=(own.password,))
        await redis.keep_only("secret")


WRONG = {
    "all servers are restarted at once": (restart_all, LAST_SERVER),
    "a server is stopped that gets clients": (stop_another, BALANCED_STOP),
    "a password that no server knows": (set_another_password, REDIS_PASSWORD),
}


@pytest.mark.parametrize(("act", "invariant"), WRONG.values(), ids=WRONG)
def test_what_a_wrong_driver_does_is_found(trials, act, invariant):
    if invariant == REDIS_PASSWORD:
        trials.set_passwords("OLD_PASSWORD", "NEW_PASSWORD")
    verdict = trials.play("faults: []\n", drivers={**DRIVERS, "collab": WrongDriver(act)})
    assert invariant in list_breaches(verdict), tell(verdict)


def test_a_restart_that_never_was_is_found(trials, monkeypatch):
    monkeypatch.setattr(judge, "_judge_restart", lambda own, seen: StepVerdict(StepStatus.DONE, ""))
    verdict = trials.play("faults: []\n")
    assert HISTORY_TRUE in list_breaches(verdict), tell(verdict)


def test_a_restart_of_redis_that_never_was_is_found(trials, monkeypatch):
    done = StepVerdict(StepStatus.DONE, "")
    monkeypatch.setattr(judge, "_judge_redis_restart", lambda own, seen: done)
    trials.change("collab/redis.json", "{", '{"tcp-keepalive": 200, ')
    verdict = trials.play("faults: []\n", before=FACTORY)
    assert HISTORY_TRUE in list_breaches(verdict), tell(verdict)
    assert "redis has not loaded its redis.conf" in tell(verdict)
