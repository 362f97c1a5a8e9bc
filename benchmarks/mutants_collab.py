"""Faults in rules, judgements and guards of Collaboration Servers, each with the scene in which it shows."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

from typing import Any

from mutation import Mutant, edit
from scenes import Scene
from states_collab import explore, make_case

from reconciler.drivers.collab import balancer_plan, delivery, guards, judge, preconditions, redis_plan
from reconciler.drivers.collab.guards import GUARDS
from reconciler.drivers.collab.planner import _Chain
from reconciler.modelcheck.explore import Exploration


def collab(
    count: int = 2,
    *,
    faults: int = 1,
    passes: int = 1,
    has_file_faults: bool = False,
    is_announced: bool = True,
    **case: Any,
) -> Scene:
    """A cluster with a change of the fleet file, see `states_collab.make_case` and `CollabModel`."""

    def walked() -> Exploration:
        model, world = make_case(count, **case)
        model.has_file_faults, model.is_announced = has_file_faults, is_announced
        return explore(model, world, faults=faults, passes=passes, guards=GUARDS)[1]

    return walked


CHANGED = {"changes": {"logging": False}}
PASSWORD = {"passwords": ("old", "new")}

CHANGE = collab(**CHANGED)
ONE_DOWN = collab(stopped=(1,), faults=0, **CHANGED)
NEW_PASSWORD = collab(passes=2, **PASSWORD)
NEW_PASSWORD_AT_ONCE = collab(faults=0, **PASSWORD)
NEW_FILES = collab(is_delivered=True, faults=0, **PASSWORD)
JOINING = collab(3, balanced=2, passes=2)
JOINING_DOWN = collab(3, balanced=2, stopped=(2,), faults=0)
LEAVING = collab(3, leaving=1, faults=0)
JOINING_EDITED = collab(3, balanced=2, has_file_faults=True)
JOINING_UNCHECKED = collab(3, balanced=2, faults=0, unchecked=("nginx",))
REDIS_RESTART = collab(redis_changes={"protected-mode": "no"}, faults=0, is_announced=False)
REDIS_SETUP = collab(
    former={"scaling": "none"},
    redis_changes={"protected-mode": "no"},
    is_delivered=True,
    is_announced=False,
)
FIRST_REDIS = collab(former={"scaling": "none"}, is_redis_down=True, faults=0)

PLANNER = "planner and judgement"
NO_IDLE = edit(_Chain.plan, "self._plan_idle(server, password)", "pass")
NO_REDIS = edit(_Chain.plan, "self._add_all(found.restart)", "pass")
NO_PASSWORD = edit(_Chain.plan, "self._add_all(password.add)", "pass")
NEVER_LOCKED_OUT = edit(_Chain._is_locked_out, "return password", "return False and password")
ANY_PEER = edit(preconditions._find_serving_obstacle, "case.needs_peer and not case.serving_peers", "False")
WITHOUT_REDIS = edit(
    preconditions.find_restart_obstacle,
    """    if not case.is_redis_there:
        return "Redis does not answer, so it would come back paused"
    if case.accepts_password is False:""",
    "    if False:",
)
WITHOUT_LOGIN = edit(preconditions.find_restart_obstacle, "if case.accepts_password is False:", "if False:")
AWAY_IS_WELL = edit(_Chain._find_serving_obstacle, "if away:", "if False:")
PEERS_UNREAD = edit(judge._judge_restart, "if status.is_healthy and away:", "if False:")
JOINS_UNREAD = edit(judge._judge_reload, "if name not in _list_serving(seen, own.joining):", "if False:")
JOINS_EARLY = edit(
    balancer_plan.find_balancer_plan,
    "if own.named[one] in well and own.fits_protocol(own.named[one])",
    "",
)
STOPS_EARLY = edit(
    balancer_plan.find_balancer_plan,
    """    if file_plan.findings or (not file_plan.is_changed and is_loaded):
        return replace(plan, file=FilePlan(steps=file_plan.steps), leaving=leaving if is_loaded else ())""",
    "    return replace(plan, leaving=leaving)",
)
USED_IS_LEFT = edit(judge._judge_stop, "if balancer.marker != own.marker:", "if False:")
DROP_UNREAD = edit(judge._judge_drop_password, "if status.start == outdated:", "if False:")
NO_SERVING = edit(_Chain._plan_used, "self._plan_serving(server, password)", "pass")
DROP_EARLY = edit(_Chain._uses_new_file, "if name in self.renewed:", "if True:")
FILES_UNREAD = edit(
    judge._judge_delivered_passwords, "if password is not None and password != own.password:", "if False:"
)
UNCHAINED = edit(
    _Chain._add, "(*step.after, last) if last and last not in step.after else step.after", "step.after"
)
ANOTHER_FILE = edit(judge._judge_file_in_place, "if reading.value.digest != own.digest:", "if False:")
WITHOUT_SERVERS = edit(
    delivery.plan_balancer_file,
    "content=span,",
    "content=NginxSpan(upstream=span.upstream, servers=(), marker=span.marker),",
)
ANY_DROP = edit(
    guards.refuse_password_order, "if server.name not in walk.renewed and not is_new:", "if False:"
)


COLLAB = (
    Mutant("rule of a serving peer", "gone", ANY_PEER, CHANGE, (PEERS_UNREAD,), "the judgement of each peer"),
    Mutant(
        "judgement of a restart",
        "blind to peers",
        PEERS_UNREAD,
        CHANGE,
        (ANY_PEER,),
        "the rule of a serving peer",
    ),
    Mutant(
        "guard last-healthy-server",
        "gone",
        edit(guards.refuse_last_server, "if not walk.list_peers(own.server):", "if False:"),
        ONE_DOWN,
        (AWAY_IS_WELL, ANY_PEER, PEERS_UNREAD, NO_IDLE),
        PLANNER,
    ),
    Mutant(
        "guard service-away",
        "gone",
        edit(guards.refuse_without_services, "not away and walk.view.is_redis_there", "True"),
        FIRST_REDIS,
        (NO_REDIS, WITHOUT_REDIS),
        PLANNER,
    ),
    Mutant(
        "guard password-order",
        "gone",
        edit(guards.refuse_password_order, "own.password and not is_accepted", "False"),
        NEW_PASSWORD_AT_ONCE,
        (NO_PASSWORD, NEVER_LOCKED_OUT, WITHOUT_LOGIN),
        PLANNER,
    ),
    Mutant(
        "guard password-order",
        "blind to starts",
        ANY_DROP,
        NEW_FILES,
        (NO_SERVING, DROP_EARLY, DROP_UNREAD),
        PLANNER,
    ),
    Mutant(
        "judgement of a password's drop",
        "blind to starts",
        DROP_UNREAD,
        NEW_FILES,
        (NO_SERVING, DROP_EARLY, ANY_DROP),
        "planner and guard",
    ),
    Mutant(
        "plan of a password's drop",
        "blind to servers with their former file",
        DROP_EARLY,
        NEW_PASSWORD_AT_ONCE,
        (NO_SERVING, FILES_UNREAD),
        "the chain of restarts, and the judgement of files",
    ),
    Mutant(
        "judgement of a password's drop",
        "blind to files",
        FILES_UNREAD,
        NEW_PASSWORD_AT_ONCE,
        (NO_SERVING, DROP_EARLY),
        "the chain of restarts, and the plan",
    ),
    Mutant(
        "guard servers-together",
        "gone",
        edit(guards.refuse_together, "if last and last not in reached:", "if False:"),
        CHANGE,
        (UNCHAINED, ANY_PEER, PEERS_UNREAD),
        PLANNER,
    ),
    Mutant(
        "guard redis-restart",
        "gone",
        edit(
            guards.refuse_unannounced_redis_restart,
            "isinstance(own, RestartRedisArguments) and (users := walk.list_redis_users())",
            "(users := []) or False",
        ),
        REDIS_RESTART,
    ),
    Mutant(
        "judgement of a restart of Redis",
        "blind to servers that work with it since",
        edit(
            judge._judge_redis_restart,
            "for name in _list_serving(seen, own.servers) if own.alone",
            "for name in ()",
        ),
        REDIS_SETUP,
    ),
    Mutant("judgement of a reload", "blind to the file in place", ANOTHER_FILE, JOINING_EDITED),
    Mutant(
        "guard balancer-unchecked",
        "gone",
        edit(guards.refuse_unchecked_file, "own.entry in desired.unchecked", "False"),
        JOINING_UNCHECKED,
        (WITHOUT_SERVERS,),
        "the text that is written",
    ),
    Mutant(
        "guard balancer-order",
        "blind to servers that join",
        edit(guards.refuse_balancer_order, "if early:", "if False:"),
        JOINING_DOWN,
        (JOINS_EARLY, JOINS_UNREAD, NO_IDLE),
        PLANNER,
    ),
    Mutant(
        "guard balancer-order",
        "blind to servers that leave",
        edit(guards.refuse_balancer_order, "if address in walk.upstream or not address:", "if False:"),
        LEAVING,
        (STOPS_EARLY, USED_IS_LEFT),
        PLANNER,
    ),
    Mutant("judgement of a reload", "blind to servers that join", JOINS_UNREAD, JOINING),
    Mutant(
        "plan of a reload",
        "a file that nginx has not loaded counts as loaded",
        edit(
            balancer_plan.find_balancer_plan,
            "is_in_use = view.is_balancer_loaded",
            "is_in_use = True",
        ),
        JOINING,
    ),
    Mutant(
        "plan of Redis",
        "started with the new password alone",
        edit(
            redis_plan.plan_redis_file,
            "if shown is None and _changes_passwords(desired, view):",
            "if False:",
        ),
        NEW_PASSWORD,
    ),
)
"""All of them."""
