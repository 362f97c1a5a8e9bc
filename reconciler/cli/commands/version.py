"""`reconcile version`: the version of the program."""

from __future__ import annotations

from reconciler.cli.options import add_command, make_app

app = make_app()


@add_command(app)
def show_version() -> int:
    """Show the version, like `reconcile --version`."""
    from reconciler import __version__
    from reconciler.cli.terminal import Terminal

    Terminal.here().say(f"reconcile {__version__}\n")
    return 0
