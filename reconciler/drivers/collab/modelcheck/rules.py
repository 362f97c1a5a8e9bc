"""What must never happen in a modelled cluster, judged by the world itself."""

from __future__ import annotations

from reconciler.core.plan import Step
from reconciler.drivers.collab import machine
from reconciler.drivers.collab.arguments import (
    AddPasswordArguments,
    DropPasswordArguments,
    ReloadArguments,
    RestartArguments,
    RestartRedisArguments,
    StartArguments,
    StopArguments,
    read_collab_arguments,
)
from reconciler.drivers.collab.cluster_state import (
    CollabState,
    RedisState,
    hash_password,
    is_balanced,
    is_serving,
    is_user,
    list_locked_out,
    list_serving,
)
from reconciler.drivers.collab.modelcheck.effects import change_passwords
from reconciler.drivers.collab.modelcheck.world import ModelSite, ModelWorld, name_model_start
from reconciler.drivers.collab.nginx_span import MARKER_HEADER
from reconciler.file_delivery.model import FileModel
from reconciler.file_delivery.steps import is_file_step


def find_obstacle(site: ModelSite, world: ModelWorld, step: Step) -> str:
    """Why the step must not begin, by the world itself: the judgement has just read it."""
    if is_file_step(step):
        return ""
    own, found = read_collab_arguments(step), ""
    match own:
        case RestartArguments():
            found = _find_restart_objection(site, world, step)
        case StopArguments():
            found = _find_stop_objection(site, world, step)
        case ReloadArguments():
            found = _find_reload_objection(site, world)
        case RestartRedisArguments():
            found = _find_redis_objection(site, world, own)
        case DropPasswordArguments():
            name = _find_locked_out(site, world.state, change_passwords(site, world, own).state)
            found = f"locks out {name}" if name else ""
    return f"{step.id} {found}" if found else ""


def _find_stop_objection(site: ModelSite, world: ModelWorld, step: Step) -> str:
    number = site.servers.index(step.node)
    if is_balanced(world.state, number):
        return "stops a server that the load balancer uses"
    if not list_serving(machine.stop_server(world.state, number)):
        return "stops the last server that serves"
    return ""


def _find_restart_objection(site: ModelSite, world: ModelWorld, step: Step) -> str:
    state, number = world.state, site.servers.index(step.node)
    if not is_serving(state, number):
        return ""
    others = [one for one in list_serving(state) if one != number]
    if len(site.desired.entry.nodes) > 1:
        if not others:
            return "restarts the last server that serves"
        if is_balanced(state, number) and not any(is_balanced(state, one) for one in others):
            return "restarts the last server that clients reach"
    after = machine.restart_server(state, number, site.load_server(world.files, step.node), site.choices)
    missing = machine.list_missing_services(after, number)
    if missing:
        return f"restarts a server that serves, and it comes back without {', '.join(missing)}"
    return ""


def _find_reload_objection(site: ModelSite, world: ModelWorld) -> str:
    state, loaded = world.state, site.load_balancer(world.files)
    if loaded is None:
        return "loads an invalid file"
    former = state.balancer.running.servers if state.balancer.running is not None else ()
    serving = {site.addresses[number] for number in list_serving(state)}
    new = sorted(set(loaded.servers) - set(former) - serving)
    if new:
        return f"sends clients to {new[0]}, which does not serve"
    if not serving & set(loaded.servers):
        return "leaves the load balancer without a server that serves"
    return ""


def _find_redis_objection(site: ModelSite, world: ModelWorld, own: RestartRedisArguments) -> str:
    loaded, servers = site.load_redis(world.files), world.state.servers
    if loaded is None:
        return "restarts Redis with an invalid file"
    users = [number for number in list_serving(world.state) if is_user(servers[number])]
    if users and (own.alone or not site.is_announced):
        return f"pauses {site.servers[users[0]]} without an announcement"
    after = world.state._replace(redis=RedisState(loaded, 1))
    name = _find_locked_out(site, world.state, after)
    return f"locks out {name}" if name else ""


def _find_locked_out(site: ModelSite, before: CollabState, after: CollabState) -> str:
    """A server that Redis would not let in after a change, and would have let in before."""
    former = set(list_locked_out(before))
    new = (number for number in list_locked_out(after) if number not in former)
    return next((site.servers[number] for number in new), "")


def find_broken_invariant(
    site: ModelSite, contents: FileModel, before: ModelWorld, step: Step, after: ModelWorld
) -> str:
    """The contents of files, and the passwords that Redis accepts."""
    if is_file_step(step):
        place = site.nodes.index(step.node)
        broken = contents.find_broken_invariant(before.files[place], step, after.files[place])
        return broken or _find_invalid_file(site, before, step, after)
    redis, changed = before.state.redis.running, after.state.redis.running
    if isinstance(read_collab_arguments(step), AddPasswordArguments) and redis and changed:
        lost = redis.passwords - changed.passwords
        return f"{step.id} drops a password" if lost else ""
    return ""


def _find_invalid_file(site: ModelSite, before: ModelWorld, step: Step, after: ModelWorld) -> str:
    """A valid file that becomes an invalid one: then the process does not come back after any restart."""
    place = site.nodes.index(step.node)
    if before.files[place].content == after.files[place].content:
        return ""
    found = [site.is_valid(world.files, step.node) for world in (before, after)]
    return f"{step.id} puts an invalid file in place" if found == [True, False] else ""


def is_effective(site: ModelSite, contents: FileModel, world: ModelWorld, step: Step) -> bool:
    """Whether a step's effect is there, by the state and the files themselves."""
    if is_file_step(step):
        return contents.is_effective(world.files[site.nodes.index(step.node)], step)
    state, own = world.state, read_collab_arguments(step)
    redis, loaded = state.redis.running, state.balancer.running
    match own:
        case RestartArguments() | StartArguments():
            number = site.servers.index(step.node)
            start = name_model_start(state.servers[number])
            is_new = isinstance(own, StartArguments) or own.heals or start != own.started
            is_effective = is_serving(state, number) and is_new
        case StopArguments():
            is_effective = state.servers[site.servers.index(step.node)].running is None
        case RestartRedisArguments():
            is_effective = redis is not None and f"run {state.redis.starts}" != own.run_id
        case ReloadArguments():
            shown = dict(loaded.headers).get(MARKER_HEADER) if loaded is not None else None
            is_effective = loaded is not None and shown == own.marker and loaded.has_handshake
        case AddPasswordArguments() | DropPasswordArguments():
            is_effective = _has_passwords(site, world, own)
        case _:
            raise AssertionError(step.action)
    return is_effective


def _has_passwords(
    site: ModelSite, world: ModelWorld, own: AddPasswordArguments | DropPasswordArguments
) -> bool:
    """Whether Redis accepts the password, or it alone, now and after its next start."""
    digest = hash_password(own.password)
    for redis in (world.state.redis.running, site.load_redis(world.files)):
        if redis is None or not redis.needs_password or digest not in redis.passwords:
            return False
        if isinstance(own, DropPasswordArguments) and redis.passwords != {digest}:
            return False
    return True
