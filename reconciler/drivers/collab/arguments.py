"""The arguments of each action of a Collaboration Server cluster, one type for each; pure.

Passwords are in them because a step is judged with nothing else. The plain form masks them; only the journal,
which encrypts them, has them in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from reconciler.core.arguments import OMITTED, StepFeedback, TypedArguments, read_arguments
from reconciler.core.plan import Step
from reconciler.core.secret import MASK

RESTART: Final = "restart-server"
START: Final = "start-server"
STOP: Final = "stop-server"
RESTART_REDIS: Final = "restart-redis"
RELOAD: Final = "reload-balancer"
ADD_PASSWORD: Final = "add-redis-password"  # noqa: S105  (a name)
DROP_PASSWORD: Final = "drop-redis-password"  # noqa: S105  (a name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CollabArguments(TypedArguments):
    """What every step of a cluster carries.

    Args:
        servers: server -> its own `/status`, of the servers that show whether the step may be performed.
        timeout: seconds for one call.
        connect: seconds for its connection.
        feedback_api: how messages name the step.
        redis: name of the node of Redis; empty where the step does not depend on Redis.
        address: its `host:port`.
        password: that Redis has to accept; empty for none.
        logins: further passwords with which Redis may let this host in, the one in force first.
        former: server -> where it answers as long as its process uses its former port or TLS.
    """

    servers: Mapping[str, str]
    timeout: int | float
    connect: int | float
    feedback_api: str
    former: Mapping[str, str] = field(default_factory=dict, metadata=OMITTED)
    redis: str = field(default="", metadata=OMITTED)
    address: str = field(default="", metadata=OMITTED)
    password: str = field(default="", repr=False, metadata=OMITTED)
    logins: tuple[str, ...] = field(default=(), repr=False, metadata=OMITTED)

    def plain(self) -> dict[str, Any]:
        """The fields by name, passwords masked."""
        found = TypedArguments.plain(self)
        # One mask for any number of them: a host that knows one more plans the same.
        masked = {"password": MASK, "logins": [MASK]}
        return found | {key: value for key, value in masked.items() if key in found}

    def exact_values(self) -> dict[str, Any]:
        """See `core.arguments.Arguments`."""
        exact = {"password": self.password, "logins": list(self.logins)}
        return {key: value for key, value in exact.items() if value}

    @property
    def feedback(self) -> StepFeedback:
        """See `core.arguments.Arguments`."""
        return StepFeedback(self.feedback_api)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CommandArguments(CollabArguments):
    """A step that runs a command of the host.

    Args:
        command: its name; empty if an operator acts.
        values: placeholder -> text.
    """

    command: str
    values: Mapping[str, str]

    @property
    def host_commands(self) -> tuple[str, ...]:
        """See `core.arguments.Arguments`."""
        return (self.command,) if self.command else ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileUseArguments(CommandArguments):
    """A step that makes a process load its file, which must be the one that was checked.

    Args:
        entry: name of the file in the host configuration; empty where it is not managed.
        host: of the machine with the file.
        digest: that the file must have; empty where it is not managed.
    """

    entry: str = field(default="", metadata=OMITTED)
    host: str = field(default="", metadata=OMITTED)
    digest: str = field(default="", metadata=OMITTED)

    def plain(self) -> dict[str, Any]:
        """The same with the digest masked: anybody who sees a plan could test guesses of a secret with it."""
        found = CollabArguments.plain(self)
        return found | {"digest": MASK} if "digest" in found else found

    def exact_values(self) -> dict[str, Any]:
        """See `core.arguments.Arguments`."""
        exact = CollabArguments.exact_values(self)
        return {**exact, "digest": self.digest} if self.digest else exact

    @property
    def undone_last(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def undone_alone(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RestartArguments(FileUseArguments):
    """A running server is restarted.

    Args:
        server: its name.
        status: its own `/status`.
        started: which start of it is ended, see `StatusView.start`.
        version: that it has to show afterwards; empty for any.
        peers: servers of which one must serve while this one is away; empty if none is needed.
        fixes: services whose way its new file changes, by their names in a reason.
        heals: whether it is restarted because it stays paused although its services are there.
        is_unused: whether the load balancer does not use it yet, so that nobody is harmed.
        clients: that are connected to it, for people; -1 if not shown.
        shown_values: fingerprint of the values of its file that it shows once it uses it.
        again: whether it may be down: the undo of a restart after which it did not come back.
    """

    server: str
    status: str
    started: str
    version: str = ""
    peers: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    heals: bool = field(default=False, metadata=OMITTED)
    is_unused: bool = field(default=False, metadata=OMITTED)
    clients: int = -1
    shown_values: str = ""
    again: bool = field(default=False, metadata=OMITTED)

    @property
    def interrupts(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def is_repair(self) -> bool:
        """See `core.arguments.Arguments`."""
        return self.heals


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StartArguments(CommandArguments):
    """A server that does not run is started.

    Args:
        server: its name.
        status: its own `/status`.
    """

    server: str
    status: str

    @property
    def suits_stopped_node(self) -> bool:
        """See `core.arguments.Arguments`."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StopArguments(CommandArguments):
    """A server that the load balancer does not use any more is stopped.

    Args:
        server: its name.
        status: its own `/status`.
        drain: seconds to wait for its clients to leave.
        balancer: URL of the load balancer; empty where the cluster has none.
        marker: by which its file without the server is known.
        peers: servers of which one must serve.
        intent_facts: the server -> its start that is ended, by which a later run knows that it may start it.
    """

    server: str
    status: str
    drain: int | float
    balancer: str = ""
    marker: str = ""
    peers: tuple[str, ...] = ()
    intent_facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict, metadata=OMITTED)

    @property
    def longest_wait(self) -> float:
        """See `core.arguments.Arguments`."""
        return float(self.drain)

    @property
    def facts_of_intent(self) -> Mapping[str, Mapping[str, str]]:
        """See `core.arguments.Arguments`."""
        return self.intent_facts

    @property
    def suits_stopped_node(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def interrupts(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReloadArguments(FileUseArguments):
    """The load balancer reads its file again.

    Args:
        url: of the load balancer.
        marker: by which the new file is known once it is loaded.
        joining: servers that it has not used before; each must serve.
        remaining: servers of its new file; one of them must serve.
    """

    url: str
    marker: str
    joining: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RestartRedisArguments(FileUseArguments):
    """Redis is restarted, which pauses every server.

    Args:
        run_id: of its process that is ended; empty if it does not run.
        alone: whether no server that served worked with it when this was planned: nobody had to announce it.
        serving: servers that served before, and have to serve again.
        intent_facts: server -> its start, for one that ends with Redis.
    """

    run_id: str
    alone: bool = field(default=False, metadata=OMITTED)
    serving: tuple[str, ...] = ()
    intent_facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def facts_of_intent(self) -> Mapping[str, Mapping[str, str]]:
        """See `core.arguments.Arguments`."""
        return self.intent_facts

    @property
    def interrupts(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RedisPasswordArguments(CollabArguments):
    """A change of the passwords that Redis accepts, now and after a restart.

    Args:
        entry: name of the redis.conf in the host configuration.
        host: of the machine with the file.
        payload: digest of the payload with the passwords, for what is sent and masked.
    """

    entry: str
    host: str
    payload: str

    @property
    def payload_digest(self) -> str:
        """See `core.arguments.Arguments`."""
        return self.payload


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AddPasswordArguments(RedisPasswordArguments):
    """Redis accepts the new password beside the others."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DropPasswordArguments(RedisPasswordArguments):
    """Redis accepts the new password alone.

    Args:
        outdated: server -> its start that still used a former password; empty if it never did.
        config: name of the config.json in the host configuration; empty where they are not managed.
        hosts: server -> the machine with its config.json.
    """

    outdated: Mapping[str, str]
    config: str = field(default="", metadata=OMITTED)
    hosts: Mapping[str, str] = field(default_factory=dict, metadata=OMITTED)


ACTIONS: Final[Mapping[str, type[CollabArguments]]] = MappingProxyType(
    {
        RESTART: RestartArguments,
        START: StartArguments,
        STOP: StopArguments,
        RESTART_REDIS: RestartRedisArguments,
        RELOAD: ReloadArguments,
        ADD_PASSWORD: AddPasswordArguments,
        DROP_PASSWORD: DropPasswordArguments,
    }
)
"""Action -> the type of its arguments, without those about files."""


def read_collab_arguments(step: Step) -> CollabArguments:
    """The arguments of a step that is not about a file.

    Raises:
        UnreadableArguments: they have another form.
    """
    return read_arguments(step.arguments, ACTIONS[step.action])
