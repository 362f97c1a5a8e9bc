"""`reconcile state`: the fleets that this host remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.commands.state_copies import back_up_state, check_state, restore_state
from reconciler.cli.options import CommonOptions, Ref, State, Within, add_command, make_app
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.core.fleet_matching import FleetIdentity, KnownFleet

app = make_app()
add_command(app, "backup")(back_up_state)
add_command(app, "restore")(restore_state)
add_command(app, "check")(check_state)


@app.callback()
def state_group() -> None:
    """Manage what this host remembers of its fleets."""


@add_command(app, "fleets")
def list_fleets(
    *,
    state: State = None,
    common: CommonOptions,
) -> int:
    """List known fleets: name, history, sources."""
    from reconciler.cli.state_folder import require_state
    from reconciler.core.revision import shorten_commit
    from reconciler.host import aio
    from reconciler.store.factory import open_reader
    from reconciler.text.one_line import clean_line

    terminal = common.open_terminal()
    folder = require_state(common.read_host(), state)
    with open_reader(folder.store) as store:
        known = aio.run_until_signal(store.fleets())
    if not known:
        terminal.say("This host remembers no fleet.\n")
    for one in known:
        history = (
            f"history begins with {', '.join(map(shorten_commit, one.roots))}"
            if one.roots
            else "no history known"
        )
        terminal.say(f"{clean_line(one.name) or '(no name)'}: {history}\n")
        for source in reversed(one.sources):
            terminal.say(f"  {clean_line(source)}\n")
    return 0


@add_command(app, "rebind")
def rebind_fleet(
    name: Annotated[str, typer.Argument(metavar="FLEET", help="Name of the fleet, or one of its sources.")],
    *,
    source: Annotated[
        str,
        typer.Option(metavar="SOURCE", help="The new source, in the same form as for `reconcile`."),
    ],
    ref: Ref = "",
    path: Within = "",
    state: State = None,
    common: CommonOptions,
) -> int:
    """Confirm a new source or history of a fleet.

    Needed if a fleet continues with another history, or with a source that has none.
    What this host remembers of the fleet is kept. A confirmed source needs no further confirmation.
    """
    from reconciler.api.reader import Reader
    from reconciler.cli.state_folder import require_state
    from reconciler.host import aio
    from reconciler.sources import CACHE_FOLDER
    from reconciler.sources.locate import locate_source
    from reconciler.store.factory import has_store, open_store
    from reconciler.text.one_line import clean_line

    terminal, host = common.open_terminal(), common.read_host(source)
    folder = require_state(host, state)
    if not has_store(folder.store):
        raise UsageError(
            f"the state {folder.place} has no fleet", remedy="choose the state folder with --state"
        )
    found = locate_source(
        source,
        ref=ref,
        path=path,
        cache=folder.path / CACHE_FOLDER,
        environment=host.environment,
        accounts=host.config.aws,
    )
    with open_store(folder.store) as store:
        known = aio.run_until_signal(store.fleets())
        fleet = _find_fleet(name, known)
        reader = Reader(found, host=host)

        async def identify() -> FleetIdentity:
            return await reader.identify(await reader.read_fleet(), known)

        identity = aio.run_until_signal(identify())
        # A run finds its memory by the name first: with another name it would not find what is bound here.
        if identity.name != fleet.name:
            own_name = f"`name: {identity.name}`" if identity.name else "no name"
            raise UsageError(
                f"the fleet file of {identity.source} has {own_name}, but the fleet is {fleet.label}",
                remedy=f"write `name: {fleet.name}` into that fleet file first"
                if fleet.name
                else "give the fleet's name; `reconcile state fleets` lists them",
            )
        aio.run_until_signal(store.rebind(fleet.number, identity))
    terminal.say(
        f"From now on, the fleet {clean_line(fleet.label)} is read from {clean_line(identity.source)}.\n"
    )
    return 0


def _find_fleet(text: str, known: Sequence[KnownFleet]) -> KnownFleet:
    """The fleet with this name, else the one with this source.

    Raises:
        UsageError: there is no such fleet.
    """
    from reconciler.core.fleet_matching import normalise_source
    from reconciler.text.suggestions import find_similar, join_choices

    found = [one for one in known if one.name == text] or [
        one for one in known if normalise_source(text) in one.sources
    ]
    if found:
        return found[0]
    near = find_similar(text, [one.label for one in known], most=3)
    hint = f"did you mean {join_choices(near)}?" if near else "`reconcile state fleets` lists known fleets"
    raise UsageError(f"unknown fleet {text!r}", remedy=hint)
