"""What is to be done about the passwords and the file of Redis; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from reconciler.core.file_state import compute_file_digest
from reconciler.core.observation import Present
from reconciler.core.plan import Payload, Step
from reconciler.core.secret import Secret
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.collab import steps
from reconciler.drivers.collab.cluster_view import ClusterView
from reconciler.drivers.collab.delivery import (
    find_current_passwords,
    find_login_password,
    needs_redis_restart,
    plan_redis_conf,
    uses_redis,
)
from reconciler.drivers.collab.facts import OUTDATED
from reconciler.drivers.collab.redis_conf import FileLogin, read_file_login, read_file_password
from reconciler.drivers.collab.schema import CollabDesired, RedisNode
from reconciler.drivers.collab.views import RedisView
from reconciler.file_delivery.content import UnfitFile
from reconciler.file_delivery.steps import FilePlan


@dataclass(frozen=True, slots=True)
class PasswordChange:
    """How far a change of Redis's password is.

    Args:
        is_needed: whether the servers need a password that Redis has to accept.
        is_accepted: whether it does.
        is_running: whether Redis accepts other passwords than the desired one, now or after its next start.
        add: the step that makes it accept the desired one too; None if it does, or cannot be made to.
        needs_drop: whether former passwords are to be dropped.
        findings: why nothing can be planned.
    """

    is_needed: bool = False
    is_accepted: bool = False
    is_running: bool = False
    add: tuple[Step, Mapping[str, Payload]] | None = None
    needs_drop: bool = False
    findings: tuple[Diagnostic, ...] = ()
    desired: CollabDesired | None = field(default=None, repr=False)
    logins: tuple[str, ...] = field(default=(), repr=False)

    def make_drop(self, outdated: Mapping[str, str]) -> tuple[Step, Mapping[str, Payload]]:
        """The step that drops former passwords.

        Args:
            outdated: server -> the start that still used its former file; empty if there is none.
        """
        assert self.desired is not None
        redis, password = self.desired.entry.redis, self.desired.redis_password
        assert redis is not None
        assert password is not None
        step, payload = steps.make_drop_password(
            self.desired, redis, password=password, logins=self.logins, outdated=outdated
        )
        return step, {step.payload: payload}


@dataclass(frozen=True, slots=True)
class RedisFilePlan:
    """The steps about redis.conf, and the restart that it needs."""

    file: FilePlan = field(default_factory=FilePlan)
    restart: tuple[Step, Mapping[str, Payload]] | None = None
    findings: tuple[Diagnostic, ...] = ()


def find_password_change(desired: CollabDesired, view: ClusterView) -> PasswordChange:
    """How far a change of the password is, and its next step."""
    redis, password = desired.entry.redis, desired.redis_password
    needed = find_login_password(desired)
    shown = view.redis
    if redis is None or needed is None:
        return PasswordChange()
    if shown is None:
        # Whether it is accepted is not known: no server is restarted anyway while Redis does not answer.
        return PasswordChange(is_needed=True)
    is_accepted = shown.accepts is True or bool(needed.missing)
    if password is None or password.missing or desired.get_redis_place() is None:
        return PasswordChange(is_needed=True, is_accepted=is_accepted)
    if _is_new(desired, view):
        return PasswordChange(is_needed=True, is_accepted=True)
    login = _read_login(desired, view)
    findings = _find_obstacles(redis, desired, shown, login)
    if findings or login is None:
        return PasswordChange(is_needed=True, is_accepted=is_accepted, findings=findings, is_running=True)
    wanted = frozenset({sha256(str(password.value).encode()).hexdigest()})
    logins = list_logins(desired, view)
    add: tuple[Step, Mapping[str, Payload]] | None = None
    if shown.is_open or shown.accepts is not True or not wanted <= login.passwords:
        step, payload = steps.make_add_password(
            desired, redis, password=password, logins=logins, is_open=shown.is_open
        )
        add = step, {step.payload: payload}
    needs_drop = shown.passwords != wanted or login.passwords != wanted
    # Where the only password is the desired one already, adding it leaves nothing to drop.
    if add is not None and (shown.passwords or frozenset()) <= wanted and login.passwords <= wanted:
        needs_drop = False
    return PasswordChange(
        is_needed=True,
        is_accepted=is_accepted,
        is_running=add is not None or needs_drop,
        add=add,
        needs_drop=needs_drop,
        desired=desired,
        logins=logins,
    )


def _is_new(desired: CollabDesired, view: ClusterView) -> bool:
    """Whether Redis is restarted for its new file anyway, and no server uses it by now.

    Then nobody is locked out by the new password alone, and the servers need the other keys of the file, such
    as `bind`, before they are restarted.
    """
    try:
        is_restarted = needs_redis_restart(desired, view.observed)
    except UnfitFile:
        return False
    return is_restarted and not uses_redis(desired, view.observed)


def list_logins(desired: CollabDesired, view: ClusterView) -> tuple[str, ...]:
    """Passwords by which Redis may let this host in, beside the desired one."""
    found = dict.fromkeys(find_current_passwords(desired, view.observed))
    content = _read_content(desired, view)
    try:
        if content is not None and (own := read_file_password(content)):
            found |= {own: None}
    except UnfitFile:
        pass
    password = desired.redis_password
    if password is not None and not password.missing:
        found.pop(str(password.value), None)
    return tuple(found)


def plan_redis_file(desired: CollabDesired, view: ClusterView) -> RedisFilePlan:
    """The steps about redis.conf, and the restart of Redis that they need."""
    redis, shown = desired.entry.redis, view.redis
    if redis is None or desired.get_redis_place() is None:
        return _report_away(desired, view)
    if shown is None and not view.is_silent(redis.name):
        return _report_away(desired, view)
    run_id = shown.run_id if shown is not None else ""
    try:
        is_for_restart = needs_redis_restart(desired, view.observed)
    except UnfitFile:
        is_for_restart = False
    if shown is None and _changes_passwords(desired, view):
        # One that does not run is started with the file that it has: the new password alone would lock out
        # every server that was not started with it. The password is changed once Redis answers.
        file_plan = FilePlan()
    else:
        file_plan = plan_redis_conf(desired, view.observed, run_id if is_for_restart else "")
    why = _find_restart_reason(desired, view, is_changed=is_for_restart and file_plan.is_changed)
    if file_plan.findings or not why:
        return RedisFilePlan(file=file_plan, findings=file_plan.findings)
    obstacle = _find_restart_obstacle(desired, view)
    if obstacle:
        words = f"{why} and is not restarted: {obstacle}"
        # Without the file as well: anybody's restart would bring it in.
        return RedisFilePlan(findings=(_report(desired, redis, "redis-restart-waits", words),))
    password = find_login_password(desired) or Secret("")
    names = [*(one.name for one in desired.entry.nodes), *(one.name for one in desired.former)]
    step = steps.make_redis_restart(
        desired,
        redis,
        run_id=run_id,
        starts={
            server.name: status.start
            for server in desired.entry.nodes
            if view.is_healthy(server.name) and (status := view.get_status(server.name)) is not None
        },
        password="" if password.missing else str(password.value),
        logins=list_logins(desired, view),
        why=f"{redis.name} {why}",
        is_alone=not any(view.is_healthy(name) and view.may_use_redis(name) for name in names),
        digest=file_plan.digest or _read_digest(desired, view),
    )
    return RedisFilePlan(file=file_plan, restart=(step, {}))


def report_later_file(desired: CollabDesired, view: ClusterView) -> tuple[Diagnostic, ...]:
    """That the rest of redis.conf is brought in only after the change of the password that is going on."""
    redis = desired.entry.redis
    try:
        is_later = needs_redis_restart(desired, view.observed)
    except UnfitFile:
        return ()
    if redis is None or not is_later:
        return ()
    return (
        Diagnostic(
            Severity.NOTE,
            "redis-conf-waits",
            f"{redis.name} gets the other changes of its redis.conf in a later run, after its new password",
            "nothing, if the watch runs; otherwise run it again: this change restarts Redis",
            target=f"{desired.entry.name}/{redis.name}",
        ),
    )


def _changes_passwords(desired: CollabDesired, view: ClusterView) -> bool:
    """Whether the new redis.conf lets in others than the present one."""
    login, password = _read_login(desired, view), desired.redis_password
    if login is None or password is None or password.missing:
        return False
    return login.passwords != {sha256(str(password.value).encode()).hexdigest()}


def _find_restart_reason(desired: CollabDesired, view: ClusterView, *, is_changed: bool) -> str:
    """Why Redis needs a restart, in words that follow its name; empty if it does not."""
    redis, shown = desired.entry.redis, view.redis
    assert redis is not None
    if shown is None:
        return "does not run"
    if is_changed:
        return "gets a changed redis.conf"
    if shown.run_id and shown.run_id == desired.recall(redis.name, OUTDATED):
        return "still uses its former redis.conf"
    return ""


def _find_restart_obstacle(desired: CollabDesired, view: ClusterView) -> str:
    names = [server.name for server in desired.entry.nodes]
    shown = view.redis
    if shown is None:
        serving = [name for name in names if view.is_healthy(name) and view.may_use_redis(name)]
        return (
            f"{serving[0]} works with it, so it may run where this host does not reach it" if serving else ""
        )
    if not shown.is_logged_in or not shown.run_id:
        return "it does not let this host in, so its restart could not be seen"
    unknown = [name for name in names if view.get_status(name) is None and not view.is_silent(name)]
    if unknown:
        return f"{unknown[0]} {view.describe(unknown[0])}, so it would not be seen whether it comes back"
    reserved = [name for name in names if name in view.observed.reserved]
    return f"{reserved[0]} is reserved or held" if reserved else ""


def _find_obstacles(
    redis: RedisNode, desired: CollabDesired, shown: RedisView, login: FileLogin | None
) -> tuple[Diagnostic, ...]:
    """Why the password of Redis cannot be seen or changed."""
    words = ""
    if not shown.is_logged_in:
        words = "lets this host in by none of the passwords in its file and in those of the servers"
    elif shown.acl_file:
        words = "keeps its users in an aclfile, which CONFIG REWRITE does not write"
    elif shown.passwords is None:
        words = "does not let this host read its users (ACL GETUSER), so it is not known who is let in"
    elif login is None:
        words = "has a redis.conf that cannot be read, so it is not known who is let in after a restart"
    return (_report(desired, redis, "password-unknown", words),) if words else ()


def _report_away(desired: CollabDesired, view: ClusterView) -> RedisFilePlan:
    """The finding that Redis does not answer, where nothing can be done about it."""
    redis = desired.entry.redis
    if redis is None or view.redis is not None:
        return RedisFilePlan()
    answer = view.observed.nodes.get(redis.name)
    why = getattr(answer, "reason", "") or "it was not read"
    return RedisFilePlan(findings=(_report(desired, redis, "redis-away", f"does not answer ({why})"),))


def _report(desired: CollabDesired, redis: RedisNode, code: str, words: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        code,
        f"{redis.name} {words}",
        "remove the cause; the next run continues from there",
        target=f"{desired.entry.name}/{redis.name}",
    )


def _read_content(desired: CollabDesired, view: ClusterView) -> bytes | None:
    place = desired.get_redis_place()
    reading = view.observed.files.get(place.node, {}).get(place.entry) if place is not None else None
    return reading.value.content if isinstance(reading, Present) else None


def _read_digest(desired: CollabDesired, view: ClusterView) -> str:
    """Digest of the redis.conf as it is; empty if it is missing or cannot be read."""
    content = _read_content(desired, view)
    return compute_file_digest(content) if content is not None else ""


def _read_login(desired: CollabDesired, view: ClusterView) -> FileLogin | None:
    """Who is let in after the next start of Redis; None if its file is missing or cannot be read."""
    content = _read_content(desired, view)
    try:
        return read_file_login(content) if content is not None else None
    except UnfitFile:
        return None
