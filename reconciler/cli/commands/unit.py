"""`reconcile unit`: the drop-in of the systemd unit that the local entries of this host need."""

from __future__ import annotations

from reconciler.cli.options import CommonOptions, add_command, make_app

app = make_app()


@add_command(app)
def run_unit(common: CommonOptions) -> int:
    """Print the drop-in of the systemd unit that the local entries of this host need.

    The unit forbids writing outside its own folder, and sudo. This opens the folders of local `files`, and
    sudo if a local entry has `sudo: true`. Entries with `ssh` need no opening.
    """
    from reconciler.host.systemd_drop_in import render_drop_in

    common.open_terminal().say(render_drop_in(common.read_host().config))
    return 0
