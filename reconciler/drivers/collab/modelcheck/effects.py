"""What steps make of a modelled cluster, also those that break off."""

from __future__ import annotations

from collections.abc import Iterator

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
    hash_password,
)
from reconciler.drivers.collab.facts import OUTDATED
from reconciler.drivers.collab.modelcheck.world import (
    ModelSite,
    ModelWorld,
    name_model_start,
    with_file,
    with_state,
)
from reconciler.drivers.collab.simulator.loaded_files import (
    rewrite_redis_file,
)
from reconciler.file_delivery.model import FileModel, ModelFile
from reconciler.file_delivery.steps import StageArguments, SwitchArguments, is_file_step, read_file_arguments


def perform_step(site: ModelSite, contents: FileModel, world: ModelWorld, step: Step) -> ModelWorld:
    """What a step's call makes of the cluster; the same where it is refused."""
    if is_file_step(step):
        place = site.nodes.index(step.node)
        if _is_started_meanwhile(site, world.state, step):
            return world
        changed = with_file(world, place, contents.perform(world.files[place], step))
        return world if _refuses(site, changed, step) else changed
    state, files, own = world.state, world.files, read_collab_arguments(step)
    match own:
        case RestartArguments() | StartArguments():
            number, loaded = site.servers.index(step.node), site.load_server(files, step.node)
            is_restart = isinstance(own, RestartArguments)
            call = machine.restart_server if is_restart else machine.start_server
            state = call(state, number, loaded, site.choices)
        case StopArguments():
            state = machine.stop_server(state, site.servers.index(step.node))
        case RestartRedisArguments():
            state = machine.restart_redis(state, site.load_redis(files), site.choices)
        case ReloadArguments():
            state = machine.reload_balancer(state, site.load_balancer(files))
        case AddPasswordArguments() | DropPasswordArguments():
            return _rewrite(site, change_passwords(site, world, own), own.password)
        case _:
            raise AssertionError(step.action)
    return with_state(world, state)


def _refuses(site: ModelSite, world: ModelWorld, step: Step) -> bool:
    """Whether the check of the host entry refuses what is written aside in a world."""
    entry, place = site.entries.get(step.node, ""), site.nodes.index(step.node)
    staged = world.files[place].staged
    if (
        staged is None
        or entry in site.desired.unchecked
        or not isinstance(read_file_arguments(step), StageArguments)
    ):
        return False
    return not site.is_valid(with_file(world, place, ModelFile(staged)).files, step.node)


def _is_started_meanwhile(site: ModelSite, state: CollabState, step: Step) -> bool:
    """Whether somebody started the server between the reading and this switch: outside of the model."""
    own = read_file_arguments(step)
    if not isinstance(own, SwitchArguments) or step.node not in site.servers:
        return False
    server = state.servers[site.servers.index(step.node)]
    planned = own.intent_facts.get(step.node, {}).get(OUTDATED, "")
    return server.running is not None and planned not in {"", name_model_start(server)}


def change_passwords(
    site: ModelSite, world: ModelWorld, own: AddPasswordArguments | DropPasswordArguments
) -> ModelWorld:
    """The first of the two calls to Redis: its users, in its memory alone."""
    redis, digest = world.state.redis.running, hash_password(own.password)
    if redis is None:
        return world
    known = {digest, *map(hash_password, own.logins)}
    if redis.needs_password and not known & redis.passwords:
        return world
    is_drop = isinstance(own, DropPasswordArguments)
    change = machine.require_password if is_drop else machine.add_password
    changed = change(redis, digest)
    return with_state(world, machine.change_redis(world.state, changed, site.choices))


def _rewrite(site: ModelSite, world: ModelWorld, password: str) -> ModelWorld:
    """The second call: CONFIG REWRITE."""
    place, redis = site.nodes.index(site.redis), world.state.redis.running
    file = world.files[place]
    if redis is None or file.content is None or file.is_full:
        return world
    content = rewrite_redis_file(file.content, redis, {hash_password(password): password})
    return with_file(world, place, file._replace(content=content))


def list_partial_effects(
    site: ModelSite, contents: FileModel, world: ModelWorld, step: Step
) -> Iterator[tuple[str, ModelWorld]]:
    """A file step that breaks off, a process that does not come back, a password that is not written."""
    if is_file_step(step):
        place = site.nodes.index(step.node)
        for story, file in contents.list_partial_effects(world.files[place], step):
            yield story, with_file(world, place, file)
        return
    own = read_collab_arguments(step)
    if isinstance(own, RestartArguments):
        down = machine.stop_server(world.state, site.servers.index(step.node))
        yield f"{step.id} is called, and it does not come back", with_state(world, down)
    if isinstance(own, RestartRedisArguments):
        down = machine.stop_redis(world.state, site.choices)
        yield f"{step.id} is called, and it does not come back", with_state(world, down)
    if isinstance(own, AddPasswordArguments | DropPasswordArguments):
        half = change_passwords(site, world, own)
        if half != world:
            yield f"{step.id} breaks off before the file is written", half
