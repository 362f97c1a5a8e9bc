"""A question about a node from the command line: answered by the running watch, else in this process."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Final

from reconciler.api.acts import StopAct
from reconciler.api.reader import Reader
from reconciler.api.stop_gate import StopGate
from reconciler.cli.operation_run import choose_watch
from reconciler.cli.order_place import make_act
from reconciler.cli.render.reservations import render_reply, render_reply_json
from reconciler.cli.run_options import RunOptions
from reconciler.cli.server_client import ServerClient
from reconciler.cli.state_access import StateAccess
from reconciler.cli.terminal import Terminal
from reconciler.core.fields import parse_duration
from reconciler.core.reservations import (
    LONGEST_TIME,
    SHORTEST_TIME,
    StopAnswer,
    StopReply,
    StopRequest,
    load_stop_reply,
)
from reconciler.errors import StateError, UsageError
from reconciler.exit_status import ExitStatus
from reconciler.host import aio
from reconciler.store.factory import open_store
from reconciler.text.one_line import quote_text

_STATUSES: Final = {
    StopAnswer.YES: ExitStatus.DONE,
    StopAnswer.NO: ExitStatus.NOT_ALLOWED,
    StopAnswer.UNKNOWN: ExitStatus.UNDECIDED,
}
"""Each but 0 forbids the stop, also the statuses of errors."""


def read_time(text: str) -> timedelta:
    """The time of a reservation.

    Raises:
        UsageError: it is no duration, too short or too long.
    """
    try:
        time = timedelta(seconds=parse_duration(text))
    except ValueError as error:
        raise UsageError(f"--for {quote_text(text)}: {error}", remedy="write --for 15m") from error
    if not SHORTEST_TIME <= time <= LONGEST_TIME:
        raise UsageError(
            f"--for {quote_text(text)}: a node is reserved for 1 minute to 24 hours",
            remedy="ask again when the time is over; until the node is back it counts as away anyway",
        )
    return time


def answer_question(
    request: StopRequest, options: RunOptions, access: StateAccess, terminal: Terminal, *, as_json: bool
) -> int:
    """Answer a request and show the answer; gives the exit status.

    Raises:
        ReconcilerError: there is no answer.
    """
    watch = choose_watch(options, access)
    if watch is not None:
        reply = _ask_watch(replace(access, watch=watch), request, options)
    else:
        reply = _answer_here(access, request, options)
    return _show_reply(reply, terminal, as_json=as_json)


def ask_server(
    request: StopRequest, client: ServerClient, terminal: Terminal, *, by: str, reason: str, as_json: bool
) -> int:
    """Let a watch elsewhere answer a request, and show the answer; gives the exit status.

    Raises:
        ReconcilerError: there is no answer.
    """
    act = make_act(
        StopAct,
        node=request.node,
        cluster=request.cluster,
        seconds=int(request.time.total_seconds()),
        release=request.release,
        by=by,
        reason=reason,
    )
    return _show_reply(load_stop_reply(client.perform(act).reply), terminal, as_json=as_json)


def _show_reply(reply: StopReply, terminal: Terminal, *, as_json: bool) -> int:
    status = _STATUSES[reply.decision.answer] if reply.decision else ExitStatus.DONE
    terminal.say(
        render_reply_json(reply, status=status) if as_json else render_reply(reply, layout=terminal.layout)
    )
    return status


def _answer_here(access: StateAccess, request: StopRequest, options: RunOptions) -> StopReply:
    if not access.is_open:
        raise UsageError(
            f"this user cannot open the state {access.folder}; instead, the watch ({access.watch}) answers, "
            "from its own source and with its own options",
            remedy="leave out --source, --path and the options for signers, or run the command as root",
        )
    # A reservation in a state that nobody else uses would hold nothing back.
    if not access.exists():
        raise StateError(
            f"the state {access.folder} has no history, so that a reservation would hold nothing back",
            remedy="run the command on the management host that applies the fleet, or name its state folder "
            "with --state; in CI, call it on that host, for example with ssh",
        )
    own = replace(options, source=options.source or ".")
    reader = Reader(
        own.locate(trust=own.trust, state=own.required_state.path), host=own.host, is_applying=True
    )
    with open_store(own.required_state.store, keep=own.keep) as store:
        return aio.run_until_signal(StopGate(reader, store).ask(request, own.actor))


def _ask_watch(access: StateAccess, request: StopRequest, options: RunOptions) -> StopReply:
    asked = {
        "do": "allow stop",
        "node": request.node,
        "cluster": request.cluster,
        "seconds": str(int(request.time.total_seconds())),
        "release": "yes" if request.release else "",
        "by": options.actor.encode(),
    }
    _, data = access.ask_watch(asked)
    return load_stop_reply(json.loads(data))
