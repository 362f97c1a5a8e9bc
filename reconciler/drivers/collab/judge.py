"""The status of one step by a new reading: the same judgement before it, after it, and after a crash.

A command's own status is never evidence: a restart is seen by another start, a reload by the marker of the
new file, a password by AUTH and by the file that the next start reads. What cannot be read is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from reconciler.core.observation import FileReading, Observed, Present
from reconciler.core.plan import Step
from reconciler.core.step_status import StepStatus, StepVerdict, make_changed, make_done, make_unknown
from reconciler.drivers.collab.arguments import (
    AddPasswordArguments,
    CollabArguments,
    DropPasswordArguments,
    FileUseArguments,
    RedisPasswordArguments,
    ReloadArguments,
    RestartArguments,
    RestartRedisArguments,
    StartArguments,
    StopArguments,
    read_collab_arguments,
)
from reconciler.drivers.collab.cluster_view import (
    describe_server,
    is_silent,
    normalize_service,
    read_redis_view,
    read_status,
)
from reconciler.drivers.collab.delivery import find_file_password
from reconciler.drivers.collab.facts import OUTDATED
from reconciler.drivers.collab.preconditions import RestartCase, find_restart_obstacle, find_stop_obstacle
from reconciler.drivers.collab.redis_conf import FileLogin, read_file_login
from reconciler.drivers.collab.status_view import StatusView
from reconciler.drivers.collab.views import BalancerView, CollabView, RedisView
from reconciler.file_delivery.content import UnfitFile
from reconciler.file_delivery.steps import (
    SwitchArguments,
    is_file_step,
    judge_file_step,
    read_file_arguments,
)

_READY: Final = StepVerdict(StepStatus.READY)


def judge(step: Step, seen: Observed[CollabView]) -> StepVerdict:  # noqa: PLR0911  (one for each action)
    """The status of the step, by what its nodes show."""
    if is_file_step(step):
        return _judge_file(step, seen)
    own = read_collab_arguments(step)
    match own:
        case RestartArguments():
            return _judge_restart(own, seen)
        case StartArguments():
            return _judge_start(own, seen)
        case StopArguments():
            return _judge_stop(own, step, seen)
        case ReloadArguments():
            return _judge_reload(own, step, seen)
        case RestartRedisArguments():
            return _judge_redis_restart(own, seen)
        case AddPasswordArguments():
            return _judge_add_password(own, seen)
        case DropPasswordArguments():
            return _judge_drop_password(own, seen)
    raise AssertionError(step.action)


def _judge_file(step: Step, seen: Observed[CollabView]) -> StepVerdict:
    """A file, and of a switch also whether its process is still the one that uses the former content."""
    verdict, own = judge_file_step(step, seen), read_file_arguments(step)
    if verdict.status is not StepStatus.READY or not isinstance(own, SwitchArguments):
        return verdict
    # Started by somebody since the plan: its start would later pass for one with the new file.
    planned = own.intent_facts.get(step.node, {}).get(OUTDATED, "")
    status, redis = read_status(seen, step.node), read_redis_view(seen, step.node)
    shown = status.start if status is not None else redis.run_id if redis is not None else ""
    if planned and shown and planned != shown:
        return make_changed(f"{step.node} was started again since the plan was made")
    return verdict


def _judge_restart(own: RestartArguments, seen: Observed[CollabView]) -> StepVerdict:  # noqa: PLR0911
    server, status = own.server, read_status(seen, own.server)
    if status is None:
        words = f"{server} {describe_server(seen, server)}"
        if not is_silent(seen, server):
            return make_unknown(words)
        # Down already, a start costs nothing. Otherwise it ran when the step was planned.
        return StepVerdict(StepStatus.READY, words) if own.again else make_changed(words)
    if status.start != own.started:
        if status.url:
            return make_changed(f"it was started again and still answers at {status.url}")
        return _judge_new_start(own, status)
    if own.heals and status.is_healthy:
        return make_done("it serves again without a restart")
    serving = _list_serving(seen, own.peers)
    away = [name for name in own.peers if name not in serving]
    if status.is_healthy and away:
        # Planned while all of them served: whatever took that one away may take this one, too.
        words = f"{away[0]} {describe_server(seen, away[0])}"
        return make_changed(words) if read_status(seen, away[0]) is not None else make_unknown(words)
    obstacle = find_restart_obstacle(_make_case(own, status, seen))
    if obstacle:
        return _judge_obstacle(obstacle, own, seen)
    return _judge_file_in_place(own, server, seen)


def _judge_file_in_place(own: FileUseArguments, node: str, seen: Observed[CollabView]) -> StepVerdict:
    """Whether the file that a process is about to load is the one of the plan, which was checked."""
    if not own.digest:
        return _READY
    reading: FileReading | None = seen.files.get(node, {}).get(own.entry)
    if not isinstance(reading, Present):
        return make_unknown(f"the file {own.entry} of {node} cannot be read")
    if reading.value.digest != own.digest:
        return make_changed(f"the file {own.entry} of {node} is not the one that was checked")
    return _READY


def _judge_new_start(own: RestartArguments, status: StatusView) -> StepVerdict:
    if not status.is_healthy:
        # It answers, and so it is known that it does not serve: if that lasts, its file is taken back.
        why = status.reason or f"its state is {status.state}"
        return make_changed(f"it was started again and does not serve: {why}")
    if own.version and status.version != own.version:
        return make_changed(f"it was started again with version {status.version} in place of {own.version}")
    return make_done("it was started again and serves")


def _make_case(own: RestartArguments, status: StatusView, seen: Observed[CollabView]) -> RestartCase:
    others = [name for name in own.servers if name != own.server]
    missing: dict[str, list[str]] = {}
    for name in others:
        other = read_status(seen, name)
        for service in other.missing_services if other is not None else ():
            missing.setdefault(normalize_service(service), []).append(name)
    redis = read_redis_view(seen, own.redis) if own.redis else None
    return RestartCase(
        is_serving=status.is_healthy and not own.is_unused,
        missing=frozenset(map(normalize_service, status.missing_services)),
        fixes=frozenset(own.fixes),
        heals=own.heals,
        serving_peers=_list_serving(seen, own.peers),
        needs_peer=bool(own.peers) or bool(others),
        missing_elsewhere=missing,
        is_redis_there=not own.redis or (redis is not None and not redis.is_loading),
        accepts_password=redis.accepts if redis is not None and own.password else None,
    )


def _judge_obstacle(obstacle: str, own: RestartArguments, seen: Observed[CollabView]) -> StepVerdict:
    """An obstacle that rests on an answer is a change; one that rests on silence is not known."""
    is_read = all(read_status(seen, name) is not None for name in own.servers)
    return make_changed(obstacle) if is_read else make_unknown(obstacle)


def _list_serving(seen: Observed[CollabView], names: Iterable[str]) -> list[str]:
    """The servers that serve; reserved ones may be stopped at any moment."""
    return [
        name
        for name in names
        if name not in seen.reserved and (status := read_status(seen, name)) is not None and status.is_healthy
    ]


def _judge_start(own: StartArguments, seen: Observed[CollabView]) -> StepVerdict:
    status = read_status(seen, own.server)
    if status is not None and status.is_healthy:
        return make_done("it runs and serves")
    if status is not None:
        return make_unknown(f"it runs and does not serve yet: {status.reason or status.state}")
    if is_silent(seen, own.server):
        return _READY
    return make_unknown(f"{own.server} {describe_server(seen, own.server)}")


def _judge_stop(own: StopArguments, step: Step, seen: Observed[CollabView]) -> StepVerdict:  # noqa: PLR0911
    if is_silent(seen, own.server):
        return make_done("it does not run any more")
    status = read_status(seen, own.server)
    if status is None:
        return make_unknown(f"{own.server} {describe_server(seen, own.server)}")
    if own.balancer:
        balancer = _read_balancer(seen)
        if balancer is None:
            return make_unknown("the load balancer does not answer, so that it may still use the server")
        if balancer.marker != own.marker:
            return make_changed("the load balancer has not loaded the file without the server")
    obstacle = find_stop_obstacle(_list_serving(seen, own.peers))
    if obstacle:
        return make_unknown(obstacle)
    if step.is_manual and status.connections is not None:
        left = f"{status.connections} clients are connected to it"
        return StepVerdict(StepStatus.READY, f"stop it on its machine, then run this again; {left}")
    return _READY


def _judge_reload(own: ReloadArguments, step: Step, seen: Observed[CollabView]) -> StepVerdict:  # noqa: PLR0911
    balancer = _read_balancer(seen)
    if balancer is None:
        return make_unknown("the load balancer does not answer")
    if balancer.marker == own.marker:
        if balancer.is_working:
            return make_done("it has loaded its file, and /status and the handshake work through it")
        return make_changed(
            f"it has loaded its file, but {balancer.problem or 'not both ways through it work'}"
        )
    file_verdict = _judge_file_in_place(own, step.node, seen)
    if file_verdict.status is not StepStatus.READY:
        return file_verdict
    for name in own.joining:
        status = read_status(seen, name)
        if status is not None and status.url:
            return make_changed(f"{name} still answers at {status.url}, so it must not get clients")
        if name not in _list_serving(seen, own.joining):
            return make_unknown(f"{name} {describe_server(seen, name)}, so it must not get clients")
    if not _list_serving(seen, own.remaining):
        return make_unknown("none of the servers that it would use serves")
    return _READY


def _judge_redis_restart(own: RestartRedisArguments, seen: Observed[CollabView]) -> StepVerdict:  # noqa: PLR0911
    redis = read_redis_view(seen, own.redis)
    if redis is None:
        words = f"{own.redis} {describe_server(seen, own.redis)}"
        if not is_silent(seen, own.redis):
            return make_unknown(words)
        return make_changed(words) if own.run_id else _judge_file_in_place(own, own.redis, seen)
    if redis.is_loading or not redis.run_id:
        return make_unknown("Redis does not serve yet, or does not show its start")
    paused = [name for name in own.serving if name not in _list_serving(seen, own.serving)]
    if redis.run_id != own.run_id:
        if paused:
            return make_changed(
                f"Redis was started again, and {paused[0]} {describe_server(seen, paused[0])}"
            )
        return make_done("Redis was started again, and every server that served serves")
    unread = [name for name in own.servers if read_status(seen, name) is None and not is_silent(seen, name)]
    if unread:
        return make_unknown(f"{unread[0]} {describe_server(seen, unread[0])}")
    if paused:
        return make_changed(f"{paused[0]} {describe_server(seen, paused[0])}")
    users = [name for name in _list_serving(seen, own.servers) if own.alone and _uses_redis(seen, name)]
    if users:
        # Planned without an announcement, as a restart that interrupts nobody.
        return make_changed(f"{users[0]} works with Redis since the plan was made")
    return _judge_file_in_place(own, own.redis, seen)


def _uses_redis(seen: Observed[CollabView], name: str) -> bool:
    status = read_status(seen, name)
    return status is not None and not status.is_alone


def _judge_add_password(own: AddPasswordArguments, seen: Observed[CollabView]) -> StepVerdict:
    redis, login = _read_passwords(own, seen)
    if redis is None or login is None:
        return make_unknown(_describe_unread(own, redis))
    wanted = sha256(own.password.encode()).hexdigest()
    is_now = redis.accepts is True and not redis.is_open
    if is_now and wanted in login.passwords:
        return make_done("Redis accepts it, and will after a restart")
    return StepVerdict(StepStatus.READY, "" if is_now else "Redis does not demand or accept it yet")


def _judge_drop_password(own: DropPasswordArguments, seen: Observed[CollabView]) -> StepVerdict:  # noqa: PLR0911
    redis, login = _read_passwords(own, seen)
    if redis is None or login is None:
        return make_unknown(_describe_unread(own, redis))
    if redis.passwords is None:
        return make_unknown("Redis does not let this host read who is let in")
    wanted = frozenset({sha256(own.password.encode()).hexdigest()})
    if redis.accepts is True and redis.passwords == wanted == login.passwords and not login.is_open:
        return make_done("Redis accepts the new password alone, and will after a restart")
    if redis.accepts is not True or not wanted <= login.passwords:
        return make_changed("Redis does not accept the new password, or would not after a restart")
    for name, outdated in own.outdated.items():
        status = read_status(seen, name)
        if status is None:
            return make_unknown(f"{name} {describe_server(seen, name)}, so it may use a former password")
        if status.start == outdated:
            return make_changed(f"{name} was not started since its password changed")
        if status.lacks_redis:
            return make_changed(f"{name} cannot reach Redis with the new password")
    return _judge_delivered_passwords(own, seen)


def _judge_delivered_passwords(own: DropPasswordArguments, seen: Observed[CollabView]) -> StepVerdict:
    """Whether the config.json of every server has the new password: it uses it again at its next start."""
    for name in own.hosts:
        reading = seen.files.get(name, {}).get(own.config)
        if not isinstance(reading, Present):
            return make_unknown(
                f"the file {own.config} of {name} cannot be read, so it may have a former password"
            )
        password = find_file_password(reading.value.content, own.address)
        if password is not None and password != own.password:
            return make_changed(f"the file {own.config} of {name} does not have the new password any more")
    return _READY


def _read_passwords(
    own: RedisPasswordArguments, seen: Observed[CollabView]
) -> tuple[RedisView | None, FileLogin | None]:
    """What Redis accepts now, and after its next start."""
    reading = seen.files.get(own.redis, {}).get(own.entry)
    login: FileLogin | None = None
    if isinstance(reading, Present):
        try:
            login = read_file_login(reading.value.content)
        except UnfitFile:
            login = None
    redis = read_redis_view(seen, own.redis)
    return (redis if redis is not None and redis.is_logged_in and not redis.is_loading else None), login


def _describe_unread(own: CollabArguments, redis: RedisView | None) -> str:
    if redis is None:
        return f"{own.redis} does not answer, or does not let this host in"
    return "the redis.conf cannot be read, so it is not known who is let in after a restart"


def _read_balancer(seen: Observed[CollabView]) -> BalancerView | None:
    """What is seen through the load balancer; a step looks at one at most."""
    for answer in seen.nodes.values():
        if isinstance(answer, Present) and isinstance(answer.value, BalancerView):
            return answer.value
    return None
