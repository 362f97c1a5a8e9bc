"""The model of a Collaboration Server cluster for the model checker: its nodes, files, faults and invariants.

The cluster is `machine`; planner, judgement, guards and the contents of files are the real ones; only the
wire is left out, and every process reads its file with the simulator's readers. Bounds besides those of
`modelcheck.executor_model`: the management host reaches every machine and every running process; what the
store remembers of starts is derived from the world, so that it is never out of date; a process that others
start answers at once, and they start none in the milliseconds between the reading before a switch of its file
and the switch, after which its start would not tell which file it uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import NamedTuple

from reconciler.core.observation import FileReading, Observation, Observed, Present, Unreachable
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.product_model import ModelSetup
from reconciler.core.step_status import StepStatus
from reconciler.drivers.collab import machine, planner
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
from reconciler.drivers.collab.choices import Choices
from reconciler.drivers.collab.cluster_state import (
    BalancerConfiguration,
    BalancerState,
    CollabState,
    RedisConfiguration,
    RedisState,
    ServerConfiguration,
    ServerState,
    accepts_password,
    drop_passwords,
    hash_password,
    is_balanced,
    is_serving,
    is_user,
    list_locked_out,
    list_serving,
)
from reconciler.drivers.collab.cluster_view import ClusterView, is_silent, read_redis_view, read_status
from reconciler.drivers.collab.delivery import find_login_password
from reconciler.drivers.collab.facts import LEAVING, OUTDATED, STARTED
from reconciler.drivers.collab.judge import judge
from reconciler.drivers.collab.nginx_span import MARKER_HEADER
from reconciler.drivers.collab.redis_plan import list_logins
from reconciler.drivers.collab.schema import CollabDesired, CollabServer, FormerServer
from reconciler.drivers.collab.simulator.loaded_files import (
    InvalidFile,
    read_redis_file,
    read_server_file,
    rewrite_redis_file,
)
from reconciler.drivers.collab.simulator.nginx_file import read_nginx_file
from reconciler.drivers.collab.status_view import StatusView, name_start
from reconciler.drivers.collab.views import BalancerView, CollabView, RedisView
from reconciler.file_delivery.model import COMMENT, FileEdit, FileModel, ModelFile, add_comment
from reconciler.file_delivery.steps import StageArguments, SwitchArguments, is_file_step, read_file_arguments

MODELLED = Choices(start_readings=1, paused_readings=1)
"""The behaviour in the model by default: a started server is silent and then paused, for any time."""

_STARTS = 8
"""Starts of a process that are told apart; pids come again, too."""

_KEY_BY_HAND = b'"byHand": 1, '
_BRACE = b"} # by hand\n"

_NOT_RUNNING = Unreachable("connection refused")


class ModelWorld(NamedTuple):
    """The processes, and the file of each node in the order of `CollabModel.nodes`."""

    state: CollabState
    files: tuple[ModelFile, ...]


def make_setups(
    desired: CollabDesired, observed: Observed[CollabView], plan: ClusterPlan
) -> tuple[ModelSetup[ModelWorld], ...] | str:
    """The world that the nodes' answers show, or why they show none."""
    model = CollabModel(desired)
    files: list[ModelFile] = []
    for node in model.nodes:
        entry = model.entries.get(node)
        reading = observed.files.get(node, {}).get(entry) if entry is not None else None
        if entry is not None and not isinstance(reading, Present):
            return f"the file {entry} of {node} cannot be read"
        files.append(ModelFile(reading.value.content if isinstance(reading, Present) else None))
    state = model.read_state(observed, tuple(files))
    if isinstance(state, str):
        return state
    model.learn(plan)
    return (ModelSetup(model, (ModelWorld(state, tuple(files)),), desired, plan),)


@dataclass
class CollabModel:
    """The model of one cluster.

    Args:
        desired: the desired state.
        choices: what the nodes do where the documents are silent.
        has_file_faults: whether people change files and disks become full.
        is_announced: whether the cluster has change windows or approvals, so that Redis may be restarted.
    """

    desired: CollabDesired
    choices: Choices = MODELLED
    has_file_faults: bool = True
    is_announced: bool = True
    _files: FileModel = field(init=False, default_factory=FileModel)
    _observed: dict[ModelWorld, Observed[CollabView]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        entry = self.desired.entry
        known: list[CollabServer | FormerServer] = [*entry.nodes, *self.desired.former]
        self.servers = tuple(one.name for one in known)
        self.addresses = tuple(one.address for one in known)
        self.redis = entry.redis.name if entry.redis is not None else ""
        self.balancer = entry.balancer.name if entry.balancer is not None else ""
        self.nodes = (*self.servers, *filter(None, (self.redis, self.balancer)))
        places = [
            *(self.desired.get_config_place(server) for server in entry.nodes),
            self.desired.get_redis_place(),
            self.desired.get_balancer_place(),
        ]
        self.entries = {place.node: place.entry for place in places if place is not None}

    def learn(self, plan: ClusterPlan) -> ClusterPlan:
        """The same plan, whose contents are known from now on."""
        return self._files.learn(plan)

    def read_state(self, observed: Observed[CollabView], files: tuple[ModelFile, ...]) -> CollabState | str:
        """The state that the answers show, or why they show none."""
        servers: list[ServerState] = []
        for name in self.servers:
            status = read_status(observed, name)
            if status is None and not is_silent(observed, name):
                return f"it is not known whether {name} runs"
            servers.append(self._read_server(name, status, files) if status is not None else ServerState())
        redis = self._read_redis(observed, files)
        if isinstance(redis, str):
            return redis
        shown = observed.nodes.get(self.balancer)
        if self.balancer and not (isinstance(shown, Present) and isinstance(shown.value, BalancerView)):
            return f"it is not known what {self.balancer} has loaded"
        state = CollabState(tuple(servers), self.addresses, RedisState(redis, 1))
        if isinstance(shown, Present) and isinstance(shown.value, BalancerView):
            state = state._replace(balancer=BalancerState(self._read_loaded(shown.value, files), 1))
        away = any(
            status is not None and status.lacks_database
            for status in (read_status(observed, name) for name in self.servers)
        )
        ways = {server.running.database for server in servers if server.running is not None}
        wanted = {loaded.database for name in self.servers if (loaded := self.load_server(files, name))}
        return state._replace(databases=frozenset(wanted if away else ways | wanted))

    def _read_server(self, name: str, status: StatusView, files: tuple[ModelFile, ...]) -> ServerState:
        loaded = self.load_server(files, name) or ServerConfiguration(scaling=status.scaling or "none")
        if status.start == self.desired.recall(name, OUTDATED):
            loaded = loaded._replace(digest="former")
        has_session = not status.lacks_redis
        return ServerState(loaded, 1, has_session=has_session, connections=0)

    def _read_redis(
        self, observed: Observed[CollabView], files: tuple[ModelFile, ...]
    ) -> RedisConfiguration | str | None:
        if not self.redis:
            return None
        view = read_redis_view(observed, self.redis)
        if view is None:
            return None if is_silent(observed, self.redis) else f"it is not known whether {self.redis} runs"
        loaded = self.load_redis(files) or self._make_fixed_redis()
        if view.passwords is not None:
            needs = not view.is_open
            loaded = loaded._replace(passwords=view.passwords, needs_password=needs)
        return loaded

    def _make_fixed_redis(self) -> RedisConfiguration:
        """A Redis whose file is not managed: it accepts what the servers show."""
        assert self.desired.entry.redis is not None
        password = find_login_password(self.desired)
        known = hash_password(str(password.value)) if password is not None and not password.missing else ""
        passwords = frozenset({known} if known else ())
        return RedisConfiguration(
            self.desired.entry.redis.address, passwords, bool(known), known, is_protected=False
        )

    def _read_loaded(self, view: BalancerView, files: tuple[ModelFile, ...]) -> BalancerConfiguration:
        loaded = self.load_balancer(files) or BalancerConfiguration(self.addresses, True, True, True)
        if dict(loaded.headers).get(MARKER_HEADER, "") != view.marker:
            headers = ((MARKER_HEADER, view.marker),) if view.marker else ()
            has_handshake = view.handshake == HTTPStatus.SWITCHING_PROTOCOLS
            loaded = loaded._replace(digest="former", headers=headers, has_handshake=has_handshake)
        return loaded

    def load_server(self, files: tuple[ModelFile, ...], name: str) -> ServerConfiguration | None:
        """What a server would load now; None if it would not start."""
        if name not in self.entries:
            return ServerConfiguration(digest="fixed", scaling="none")
        try:
            return read_server_file(files[self.nodes.index(name)].content)
        except InvalidFile:
            return None

    def load_redis(self, files: tuple[ModelFile, ...]) -> RedisConfiguration | None:
        """What Redis would load now; None if it would not start."""
        redis = self.desired.entry.redis
        assert redis is not None
        if self.redis not in self.entries:
            return self._make_fixed_redis()
        try:
            loaded = read_redis_file(files[self.nodes.index(self.redis)].content, redis.host)
        except InvalidFile:
            return None
        return loaded

    def load_balancer(self, files: tuple[ModelFile, ...]) -> BalancerConfiguration | None:
        """What nginx would load now; None if the file is invalid."""
        balancer = self.desired.entry.balancer
        assert balancer is not None
        if self.balancer not in self.entries:
            return BalancerConfiguration(self.addresses, True, True, True, "fixed")
        try:
            return read_nginx_file(files[self.nodes.index(self.balancer)].content, balancer.upstream)
        except InvalidFile:
            return None

    def list_faults(self, world: ModelWorld) -> Iterator[tuple[str, ModelWorld]]:
        """A process fails, the database goes away, a person changes a file or restarts something."""
        state = world.state
        for number, name in enumerate(self.servers):
            if state.servers[number].running is None:
                continue
            yield f"{name} fails", _with(world, machine.stop_server(state, number))
            again = machine.restart_server(
                state, number, self.load_server(world.files, name), replace(self.choices, start_readings=0)
            )
            yield f"a person restarts {name}", _with(world, again)
        if state.redis.running is not None:
            yield f"{self.redis} fails", _with(world, machine.stop_redis(state, self.choices))
            again = machine.restart_redis(state, self.load_redis(world.files), self.choices)
            yield f"a person restarts {self.redis}", _with(world, again)
        if state.is_database_up:
            yield "the database goes away", _with(world, machine.fail_database(state))
        if state.balancer.running is not None:
            yield f"{self.balancer} fails", _with(world, machine.stop_balancer(state))
        for node, entry in self.entries.items() if self.has_file_faults else ():
            place = self.nodes.index(node)
            edits = self._list_edits(node)
            for story, file in self._files.list_faults(world.files[place], f"{entry} of {node}", edits):
                yield story, _with_file(world, place, file)

    def _list_edits(self, node: str) -> Mapping[str, FileEdit]:
        """What a person may do to the file of a node."""
        if node in self.servers:  # a comment makes a config.json invalid
            return {"is changed by hand": _add_key, "is broken by hand": add_comment}
        if node == self.balancer:
            return {**COMMENT, "is broken by hand": _break_block}
        return COMMENT

    def list_returns(self, world: ModelWorld) -> Iterator[tuple[str, ModelWorld]]:
        """A process comes up or is started again, the database is back, a disk has room again."""
        state, files = world.state, world.files
        for number, name in enumerate(self.servers):
            yield from self._list_server_returns(world, number, name)
        if self.redis and state.redis.running is None and (redis := self.load_redis(files)) is not None:
            yield f"{self.redis} is started", _with(world, machine.start_redis(state, redis, self.choices))
        if not state.is_database_up:
            yield "the database is back", _with(world, machine.return_database(state, self.choices))
        if self.balancer and state.balancer.running is None:
            loaded = self.load_balancer(files)
            if loaded is not None:
                yield f"{self.balancer} is started", _with(world, machine.start_balancer(state, loaded))
        for node, entry in self.entries.items() if self.has_file_faults else ():
            place = self.nodes.index(node)
            for story, file in self._files.list_returns(files[place], f"{entry} of {node}"):
                yield story, _with_file(world, place, file)

    def _list_server_returns(
        self, world: ModelWorld, number: int, name: str
    ) -> Iterator[tuple[str, ModelWorld]]:
        state, server = world.state, world.state.servers[number]
        if server.running is None:
            at_once = replace(self.choices, start_readings=0)
            started = machine.start_server(state, number, self.load_server(world.files, name), at_once)
            # Nobody starts again what has left the fleet file.
            if started.servers[number].running is not None and self.desired.entry.server(name):
                yield f"{name} is started", _with(world, started)
        elif server.starting or (server.pausing and not machine.list_missing_services(state, number)):
            is_missing = machine.list_missing_services(state, number)
            up = server._replace(starting=0, pausing=server.pausing if is_missing else 0)
            yield f"{name} comes up", _with(world, state.replace_server(number, up))

    def observe(self, world: ModelWorld) -> Observed[CollabView]:
        """What the driver's `observe` would see."""
        if world not in self._observed:
            self._observed[world] = self._observe(world)
        return self._observed[world]

    def _observe(self, world: ModelWorld) -> Observed[CollabView]:
        files: dict[str, dict[str, FileReading]] = {
            node: {entry: world.files[self.nodes.index(node)].read()} for node, entry in self.entries.items()
        }
        nodes: dict[str, Observation[CollabView]] = {}
        for number, name in enumerate(self.servers):
            status = self._show_status(world.state, number)
            nodes[name] = Present(status) if status is not None else _NOT_RUNNING
        if self.redis:
            redis = self._show_redis(world.state, files)
            nodes[self.redis] = Present(redis) if redis is not None else _NOT_RUNNING
        if self.balancer:
            balancer = self._show_balancer(world.state)
            nodes[self.balancer] = Present(balancer) if balancer is not None else _NOT_RUNNING
        return Observed(nodes, files=files)

    def _show_status(self, state: CollabState, number: int) -> StatusView | None:
        server = state.servers[number]
        own = server.running
        if own is None or server.starting:
            return None
        word, reason = machine.describe_state(state, number, self.choices)
        return StatusView(
            version=self.desired.entry.version or "1",
            state=word,
            reason=reason,
            pid=1 + server.starts,
            up_since="-",
            enable_tls=own.enable_tls,
            scaling=own.scaling,
            logging=own.logging,
            connections=server.connections,
        )

    def _show_redis(
        self, state: CollabState, files: Mapping[str, Mapping[str, FileReading]]
    ) -> RedisView | None:
        redis = state.redis.running
        if redis is None:
            return None
        wanted = find_login_password(self.desired)
        password = hash_password(str(wanted.value)) if wanted is not None and not wanted.missing else ""
        logins = list_logins(self.desired, ClusterView(self.desired, Observed({}, files=files)))
        known = {password, *map(hash_password, logins)} - {""}
        is_in = not redis.needs_password or bool(known & redis.passwords)
        protected = "yes" if redis.is_protected else "no"
        port = redis.address.rpartition(":")[2]
        config = {
            **dict(redis.options),
            "bind": " ".join(redis.bind),
            "port": port,
            "protected-mode": protected,
        }
        return RedisView(
            run_id=f"run {state.redis.starts}" if is_in else "",
            accepts=accepts_password(redis, password, needless=False) if password else None,
            is_open=not redis.needs_password,
            passwords=redis.passwords if is_in else None,
            config=config if is_in else {},
            is_logged_in=is_in,
        )

    def _show_balancer(self, state: CollabState) -> BalancerView | None:
        loaded = state.balancer.running
        if loaded is None:
            return None
        known = [self.addresses.index(one) for one in loaded.servers if one in self.addresses]
        statuses = (self._show_status(state, number) for number in known)
        status = next((one for one in statuses if one is not None), None) if loaded.has_status else None
        is_handed_on = loaded.has_handshake and any(
            state.servers[number].running is not None and not state.servers[number].starting
            for number in known
        )
        handshake = HTTPStatus.SWITCHING_PROTOCOLS if is_handed_on else HTTPStatus.BAD_GATEWAY
        marker = dict(loaded.headers).get(MARKER_HEADER, "")
        return BalancerView(status=status, marker=marker, handshake=handshake)

    def _recall(self, world: ModelWorld) -> CollabDesired:
        """The desired state with what the store remembers: which processes use a former file."""
        state, facts = world.state, {name: dict(own) for name, own in self.desired.recalled.items()}
        for number, name in enumerate(self.servers):
            server = state.servers[number]
            start = _name_start(server)
            own = facts.setdefault(name, {})
            own[STARTED] = start
            loaded = self.load_server(world.files, name)
            is_former = server.running is not None and server.running != loaded
            own[OUTDATED] = start if is_former and name in self.entries else ""
        if self.redis and self.redis in self.entries:
            running, loaded_redis = state.redis.running, self.load_redis(world.files)
            is_former = running is not None and (
                loaded_redis is None or drop_passwords(running) != drop_passwords(loaded_redis)
            )
            facts.setdefault(self.redis, {})[OUTDATED] = f"run {state.redis.starts}" if is_former else ""
        if self.balancer:
            loaded_file = self.load_balancer(world.files)
            left = [
                one.name
                for one in self.desired.former
                if loaded_file is not None and one.address not in loaded_file.servers
            ]
            facts.setdefault(self.balancer, {})[LEAVING] = ",".join(left)
        return replace(self.desired, recalled=facts)

    def plan(self, world: ModelWorld) -> ClusterPlan:
        """What a pass that begins now would plan."""
        return self.learn(planner.plan(self._recall(world), self.observe(world)))

    def judge_step(self, world: ModelWorld, step: Step) -> StepStatus:
        """The status of the step, by the answers of its witnesses."""
        return judge(step, self.observe(world)).status

    def perform(self, world: ModelWorld, step: Step) -> ModelWorld:
        """What a step's call makes of the cluster; the same where it is refused."""
        if is_file_step(step):
            place = self.nodes.index(step.node)
            if self._is_started_meanwhile(world.state, step):
                return world
            changed = _with_file(world, place, self._files.perform(world.files[place], step))
            return world if self._refuses(changed, step) else changed
        state, files, own = world.state, world.files, read_collab_arguments(step)
        match own:
            case RestartArguments() | StartArguments():
                number, loaded = self.servers.index(step.node), self.load_server(files, step.node)
                is_restart = isinstance(own, RestartArguments)
                call = machine.restart_server if is_restart else machine.start_server
                state = call(state, number, loaded, self.choices)
            case StopArguments():
                state = machine.stop_server(state, self.servers.index(step.node))
            case RestartRedisArguments():
                state = machine.restart_redis(state, self.load_redis(files), self.choices)
            case ReloadArguments():
                state = machine.reload_balancer(state, self.load_balancer(files))
            case AddPasswordArguments() | DropPasswordArguments():
                return self._rewrite(self._change_passwords(world, own), own.password)
            case _:
                raise AssertionError(step.action)
        return _with(world, state)

    def _refuses(self, world: ModelWorld, step: Step) -> bool:
        """Whether the check of the host entry refuses what is written aside in a world."""
        entry, place = self.entries.get(step.node, ""), self.nodes.index(step.node)
        staged = world.files[place].staged
        if (
            staged is None
            or entry in self.desired.unchecked
            or not isinstance(read_file_arguments(step), StageArguments)
        ):
            return False
        return not self._is_valid(_with_file(world, place, ModelFile(staged)).files, step.node)

    def _is_started_meanwhile(self, state: CollabState, step: Step) -> bool:
        """Whether somebody started the server between the reading and this switch: outside of the model."""
        own = read_file_arguments(step)
        if not isinstance(own, SwitchArguments) or step.node not in self.servers:
            return False
        server = state.servers[self.servers.index(step.node)]
        planned = own.intent_facts.get(step.node, {}).get(OUTDATED, "")
        return server.running is not None and planned not in {"", _name_start(server)}

    def _change_passwords(
        self, world: ModelWorld, own: AddPasswordArguments | DropPasswordArguments
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
        return _with(world, machine.change_redis(world.state, changed, self.choices))

    def _rewrite(self, world: ModelWorld, password: str) -> ModelWorld:
        """The second call: CONFIG REWRITE."""
        place, redis = self.nodes.index(self.redis), world.state.redis.running
        file = world.files[place]
        if redis is None or file.content is None or file.is_full:
            return world
        content = rewrite_redis_file(file.content, redis, {hash_password(password): password})
        return _with_file(world, place, file._replace(content=content))

    def list_partial_effects(self, world: ModelWorld, step: Step) -> Iterator[tuple[str, ModelWorld]]:
        """A file step that breaks off, a process that does not come back, a password that is not written."""
        if is_file_step(step):
            place = self.nodes.index(step.node)
            for story, file in self._files.list_partial_effects(world.files[place], step):
                yield story, _with_file(world, place, file)
            return
        own = read_collab_arguments(step)
        if isinstance(own, RestartArguments):
            down = machine.stop_server(world.state, self.servers.index(step.node))
            yield f"{step.id} is called, and it does not come back", _with(world, down)
        if isinstance(own, RestartRedisArguments):
            down = machine.stop_redis(world.state, self.choices)
            yield f"{step.id} is called, and it does not come back", _with(world, down)
        if isinstance(own, AddPasswordArguments | DropPasswordArguments):
            half = self._change_passwords(world, own)
            if half != world:
                yield f"{step.id} breaks off before the file is written", half

    def find_obstacle(self, world: ModelWorld, step: Step) -> str:
        """Why the step must not begin, by the world itself: the judgement has just read it."""
        if is_file_step(step):
            return ""
        own, found = read_collab_arguments(step), ""
        match own:
            case RestartArguments():
                found = self._find_restart_objection(world, step)
            case StopArguments():
                found = self._find_stop_objection(world, step)
            case ReloadArguments():
                found = self._find_reload_objection(world)
            case RestartRedisArguments():
                found = self._find_redis_objection(world, own)
            case DropPasswordArguments():
                name = self._find_locked_out(world.state, self._change_passwords(world, own).state)
                found = f"locks out {name}" if name else ""
        return f"{step.id} {found}" if found else ""

    def _find_stop_objection(self, world: ModelWorld, step: Step) -> str:
        number = self.servers.index(step.node)
        if is_balanced(world.state, number):
            return "stops a server that the load balancer uses"
        if not list_serving(machine.stop_server(world.state, number)):
            return "stops the last server that serves"
        return ""

    def _find_restart_objection(self, world: ModelWorld, step: Step) -> str:
        state, number = world.state, self.servers.index(step.node)
        if not is_serving(state, number):
            return ""
        others = [one for one in list_serving(state) if one != number]
        if len(self.desired.entry.nodes) > 1:
            if not others:
                return "restarts the last server that serves"
            if is_balanced(state, number) and not any(is_balanced(state, one) for one in others):
                return "restarts the last server that clients reach"
        after = machine.restart_server(state, number, self.load_server(world.files, step.node), self.choices)
        missing = machine.list_missing_services(after, number)
        if missing:
            return f"restarts a server that serves, and it comes back without {', '.join(missing)}"
        return ""

    def _find_reload_objection(self, world: ModelWorld) -> str:
        state, loaded = world.state, self.load_balancer(world.files)
        if loaded is None:
            return "loads an invalid file"
        former = state.balancer.running.servers if state.balancer.running is not None else ()
        serving = {self.addresses[number] for number in list_serving(state)}
        new = sorted(set(loaded.servers) - set(former) - serving)
        if new:
            return f"sends clients to {new[0]}, which does not serve"
        if not serving & set(loaded.servers):
            return "leaves the load balancer without a server that serves"
        return ""

    def _find_redis_objection(self, world: ModelWorld, own: RestartRedisArguments) -> str:
        loaded, servers = self.load_redis(world.files), world.state.servers
        if loaded is None:
            return "restarts Redis with an invalid file"
        users = [number for number in list_serving(world.state) if is_user(servers[number])]
        if users and (own.alone or not self.is_announced):
            return f"pauses {self.servers[users[0]]} without an announcement"
        after = world.state._replace(redis=RedisState(loaded, 1))
        name = self._find_locked_out(world.state, after)
        return f"locks out {name}" if name else ""

    def _find_locked_out(self, before: CollabState, after: CollabState) -> str:
        """A server that Redis would not let in after a change, and would have let in before."""
        former = set(list_locked_out(before))
        new = (number for number in list_locked_out(after) if number not in former)
        return next((self.servers[number] for number in new), "")

    def find_broken_invariant(self, before: ModelWorld, step: Step, after: ModelWorld) -> str:
        """The contents of files, and the passwords that Redis accepts."""
        if is_file_step(step):
            place = self.nodes.index(step.node)
            broken = self._files.find_broken_invariant(before.files[place], step, after.files[place])
            return broken or self._find_invalid_file(before, step, after)
        redis, changed = before.state.redis.running, after.state.redis.running
        if isinstance(read_collab_arguments(step), AddPasswordArguments) and redis and changed:
            lost = redis.passwords - changed.passwords
            return f"{step.id} drops a password" if lost else ""
        return ""

    def _find_invalid_file(self, before: ModelWorld, step: Step, after: ModelWorld) -> str:
        """A valid file that becomes an invalid one: then the process does not come back after any restart."""
        place = self.nodes.index(step.node)
        if before.files[place].content == after.files[place].content:
            return ""
        found = [self._is_valid(world.files, step.node) for world in (before, after)]
        return f"{step.id} puts an invalid file in place" if found == [True, False] else ""

    def _is_valid(self, files: tuple[ModelFile, ...], node: str) -> bool:
        if node == self.redis:
            return self.load_redis(files) is not None
        if node == self.balancer:
            return self.load_balancer(files) is not None
        return self.load_server(files, node) is not None

    def find_leftover(self, world: ModelWorld, plan: ClusterPlan) -> str:
        """Nothing lies beside the files of nodes that the plan was about."""
        changed = {step.node for step in plan.steps if is_file_step(step)}
        found = (
            self._files.find_leftover(world.files[self.nodes.index(node)], f"{self.entries[node]} of {node}")
            for node in sorted(changed)
        )
        return next(filter(None, found), "")

    def is_effective(self, world: ModelWorld, step: Step) -> bool:
        """Whether a step's effect is there, by the state and the files themselves."""
        if is_file_step(step):
            return self._files.is_effective(world.files[self.nodes.index(step.node)], step)
        state, own = world.state, read_collab_arguments(step)
        redis, loaded = state.redis.running, state.balancer.running
        match own:
            case RestartArguments() | StartArguments():
                number = self.servers.index(step.node)
                start = _name_start(state.servers[number])
                is_new = isinstance(own, StartArguments) or own.heals or start != own.started
                is_effective = is_serving(state, number) and is_new
            case StopArguments():
                is_effective = state.servers[self.servers.index(step.node)].running is None
            case RestartRedisArguments():
                is_effective = redis is not None and f"run {state.redis.starts}" != own.run_id
            case ReloadArguments():
                shown = dict(loaded.headers).get(MARKER_HEADER) if loaded is not None else None
                is_effective = loaded is not None and shown == own.marker and loaded.has_handshake
            case AddPasswordArguments() | DropPasswordArguments():
                is_effective = self._has_passwords(world, own)
            case _:
                raise AssertionError(step.action)
        return is_effective

    def _has_passwords(self, world: ModelWorld, own: AddPasswordArguments | DropPasswordArguments) -> bool:
        """Whether Redis accepts the password, or it alone, now and after its next start."""
        digest = hash_password(own.password)
        for redis in (world.state.redis.running, self.load_redis(world.files)):
            if redis is None or not redis.needs_password or digest not in redis.passwords:
                return False
            if isinstance(own, DropPasswordArguments) and redis.passwords != {digest}:
                return False
        return True


def _name_start(server: ServerState) -> str:
    """The start that a server shows, as `StatusView.start`."""
    return name_start(1 + server.starts, "-")


def _add_key(content: bytes) -> bytes:
    """A config.json with a key that is not ours."""
    return content if _KEY_BY_HAND in content else content.replace(b"{", b"{" + _KEY_BY_HAND, 1)


def _break_block(content: bytes) -> bytes:
    """An nginx file with a brace too many."""
    return content if content.endswith(_BRACE) else content + _BRACE


def _with(world: ModelWorld, state: CollabState) -> ModelWorld:
    """The world with other processes; starts are counted up to a bound, so that there is an end."""
    servers = tuple(server._replace(starts=server.starts % _STARTS) for server in state.servers)
    redis = state.redis._replace(starts=state.redis.starts % _STARTS)
    balancer = state.balancer._replace(reloads=min(state.balancer.reloads, 1))
    return world._replace(state=state._replace(servers=servers, redis=redis, balancer=balancer))


def _with_file(world: ModelWorld, place: int, file: ModelFile) -> ModelWorld:
    return world._replace(files=(*world.files[:place], file, *world.files[place + 1 :]))
