"""Whether the watch is alive and whether it is ready, told from the board as plain JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from reconciler.core.diagnostic_json import plain_problem
from reconciler.core.plan import Revision
from reconciler.server.pass_result import Turn
from reconciler.server.state import Board, ClusterStatus, SourceState

FINDINGS = 20
"""As many findings as one cluster shows; the count of all stands beside them."""


def live(board: Board, *, now: float) -> tuple[bool, dict[str, Any]]:
    """Whether every loop has shown life within the time it said it would need.

    Args:
        board: as it is now.
        now: the monotonic clock the pulses are given in.
    """
    late = {name: round(now - until, 1) for name, until in sorted(board.pulses.items()) if now > until}
    detail: dict[str, Any] = {"live": not late, "loops": sorted(board.pulses)}
    if late:
        detail["late"] = late
        detail["because"] = [f"the {name} loop is {seconds:g} s late" for name, seconds in late.items()]
    return not late, detail


def ready(board: Board, *, dry_run: bool) -> tuple[bool, dict[str, Any]]:
    """Whether the first pass over every cluster is done, the source answers and the store can be written."""
    because = list(_unready(board))
    source = board.source
    return not because, {
        "ready": not because,
        "because": because,
        "dry_run": dry_run,
        "source": {
            "state": source.state.value,
            "revision": _revision(source.revision),
            "rejected": source.rejected or None,
            "problem": source.words or None,
            **({"problems": [plain_problem(one) for one in source.problems]} if source.problems else {}),
            "looked": _instant(source.looked),
            "since": _instant(source.since),
        },
        "store": {"writable": not board.store, "problem": board.store or None},
        "log": {
            "writable": not board.log.problem,
            "lines_lost": board.log.lost,
            "problem": board.log.problem or None,
        },
        "feedback": {"outbox": board.outbox},
        "clusters": [_cluster(board.clusters[name]) for name in sorted(board.clusters)],
    }


def _unready(board: Board) -> Iterator[str]:
    if board.stopping:
        yield "the watch is stopping"
    if board.source.state is SourceState.UNREAD:
        yield "the source was not read yet"
    if board.source.state is SourceState.UNREACHABLE:
        yield f"the source does not answer: {board.source.words}"
    elif board.source.revision is None and board.source.state is SourceState.INVALID:
        yield f"the source has no usable revision: {board.source.words}"
    if board.store:
        yield f"the store cannot be written: {board.store}"
    waiting = [name for name, status in sorted(board.clusters.items()) if status.turn is None]
    if waiting:
        yield f"the first pass is not done: {', '.join(waiting)}"


def _cluster(status: ClusterStatus) -> dict[str, Any]:
    turn = status.turn
    return {
        "cluster": status.name,
        "revision": _revision(status.revision),
        "target": _revision(status.target),
        "state": turn.result.value if turn else "new",
        "doing": status.doing,
        "last_pass": _instant(status.ended),
        "last_success": _instant(status.success),
        "next_pass": _instant(status.due),
        "tries": status.tries,
        **_detail(turn),
    }


def _detail(turn: Turn | None) -> dict[str, Any]:
    if turn is None:
        return {"pending": None}
    return {
        "pending": turn.pending,
        "problem": turn.words or None,
        "run": turn.run or None,
        "unheard": list(turn.unheard),
        "waiting_for_restart": list(turn.waiting_for_restart),
        "violations": [
            {"code": item.code, "target": item.target, "message": item.message, "remedy": item.remedy}
            for item in turn.violations
        ],
        "findings": [
            {
                "severity": item.severity.value,
                "code": item.code,
                "target": item.target,
                "message": item.located,
            }
            for item in turn.findings[:FINDINGS]
        ],
        "findings_in_all": len(turn.findings),
    }


def _revision(revision: Revision | None) -> dict[str, str] | None:
    return {"id": revision.id, "short": revision.short, "title": revision.title} if revision else None


def _instant(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
