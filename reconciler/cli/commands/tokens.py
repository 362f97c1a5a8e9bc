"""`reconcile tokens`: tokens by which programs act at the API of a watch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.options import By, CommonOptions, Format, OutputFormat, State, Why, add_command, make_app
from reconciler.core.roles import AccessRole

if TYPE_CHECKING:
    from datetime import datetime

    from reconciler.ports.access_store import AccessToken

app = make_app()

TokenName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the program or person it is for.")]


@app.callback()
def tokens_group() -> None:
    """Make, list and revoke tokens, by which programs act at a running watch."""


@add_command(app, "create")
def create_token(
    name: TokenName,
    *,
    role: Annotated[
        list[AccessRole],
        typer.Option(help="What it may do; repeat the option for several. Each includes looking."),
    ],
    cluster: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Cluster that it is for, or a pattern with `*`; default: all clusters."
        ),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="DURATION", help="When it ends by itself.")] = "90d",
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="New file for the token, which only this user can read. Default: standard output.",
            show_default=False,
        ),
    ] = None,
    by: By = "",
    reason: Why = "",
    state: State = None,
    common: CommonOptions,
) -> int:
    """Make a token. Its text is shown once: the state has only its digest."""
    from datetime import timedelta

    from reconciler.cli.file_writer import write_new_file
    from reconciler.core.roles import Grant
    from reconciler.core.timestamps import format_minute
    from reconciler.host import aio
    from reconciler.host.actor import get_current_actor
    from reconciler.host.clock import utc_now
    from reconciler.ports.access_store import AccessToken, check_access_token
    from reconciler.server.access.secret_texts import digest_secret, make_token_text
    from reconciler.server.watch_options import DAY, parse_duration_option

    now, terminal = utc_now(), common.open_terminal()
    grants = tuple(Grant(one, tuple(cluster or ("*",))) for one in dict.fromkeys(role))
    seconds = timedelta(
        seconds=parse_duration_option(expires, name="--expires", least=60.0, most=9_999 * DAY)
    )
    actor = get_current_actor(claim=by, why=reason.strip())
    token, text = AccessToken(name, grants, now + seconds, now, actor), make_token_text()
    check_access_token(token)
    with common.open_state(state) as access:
        terminal.remark(str(access))
        # First the file: a token that counts and that nobody has would be of no use, and stay for months.
        if output is not None:
            write_new_file(output, f"{text}\n".encode())
        try:
            aio.run_until_signal(access.orders().create_access_token(digest_secret(text), token))
        except BaseException:
            if output is not None:
                output.unlink(missing_ok=True)
            raise
    terminal.remark(f"Token {name} ends on {format_minute(token.expires)} UTC.\n")
    terminal.say(f"{output} has the token\n" if output is not None else f"{text}\n")
    return 0


@add_command(app, "list")
def list_tokens(*, format: Format = OutputFormat.TEXT, state: State = None, common: CommonOptions) -> int:
    """List all tokens, and those that ended in the last 90 days: roles, clusters, end, last use."""
    from reconciler.cli.render.json import format_json
    from reconciler.host import aio
    from reconciler.host.clock import utc_now

    terminal = common.open_terminal(for_people=format is OutputFormat.TEXT)
    with common.open_state(state) as access:
        terminal.remark(str(access))
        found = aio.run_until_signal(access.read().list_access_tokens())
    now = utc_now()
    if format is OutputFormat.JSON:
        terminal.say(format_json([_to_plain(token, now) for token in found]))
        return 0
    terminal.say("".join(_format(token, now) for token in found) or "There are no tokens.\n")
    return 0


@add_command(app, "revoke")
def revoke_token(
    name: TokenName, *, by: By = "", reason: Why = "", state: State = None, common: CommonOptions
) -> int:
    """End a token at once."""
    from reconciler.host import aio
    from reconciler.host.actor import get_current_actor
    from reconciler.text.one_line import clean_line

    terminal = common.open_terminal()
    actor = get_current_actor(claim=by, why=reason.strip())
    with common.open_state(state) as access:
        terminal.remark(str(access))
        aio.run_until_signal(access.orders().revoke_access_token(name, actor))
    terminal.say(f"Token {clean_line(name)} does not count any more.\n")
    return 0


def _to_plain(token: AccessToken, now: datetime) -> dict[str, Any]:
    """A token for programs; its text is kept nowhere."""
    return {
        "name": token.name,
        "counts": token.counts(now),
        "grants": [{"role": one.role.value, "clusters": list(one.clusters)} for one in token.grants],
        "created": token.created.isoformat(),
        "by": token.by.description,
        "why": token.by.why,
        "expires": token.expires.isoformat(),
        "used": token.used.isoformat() if token.used else None,
        "revoked": token.revoked.isoformat() if token.revoked else None,
    }


def _format(token: AccessToken, now: datetime) -> str:
    from reconciler.core.timestamps import format_minute
    from reconciler.text.one_line import clean_line

    if token.revoked is not None:
        end = f"revoked on {format_minute(token.revoked)} UTC"
    else:
        end = f"{'ends' if token.counts(now) else 'ended'} on {format_minute(token.expires)} UTC"
    used = f"last used about {format_minute(token.used)} UTC" if token.used else "never used"
    granted = "; ".join(
        f"{grant.role} in {', '.join(map(clean_line, grant.clusters))}" for grant in token.grants
    )
    made = f"made on {format_minute(token.created)} UTC by {token.by.description}"
    return f"{clean_line(token.name)}: {end}, {used}\n  {granted}\n  {made}\n"
