"""A change of port or TLS that is killed at any call is completed, or taken back by the next commit."""

from contextlib import suppress

import pytest
from support.collab_moves import CHANGES, Watch, converge, list_reached, moved, settled
from support.collab_runs import Faults, Killed

from reconciler.drivers.collab.machine import finish_waiting


@pytest.mark.parametrize(
    ("change", "when", "is_reverted"),
    [(CHANGES[0], "before", True), (CHANGES[1], "lost", False), (CHANGES[2], "after", True)],
)
def test_a_move_that_is_killed_anywhere_is_completed_or_taken_back(change, when, is_reverted):
    for number in range(1, 40):
        site = settled(2)
        site.cluster_input = moved(2, **change)
        site.faults = Faults({number: when})
        site.watch = Watch(site)
        with suppress(Killed):
            for _ in range(4):
                site.run()
        was_hit = len(site.faults.calls) >= number
        site.faults = Faults()
        site.world.state = finish_waiting(site.world.state)
        site.watch()
        if is_reverted:
            site.cluster_input = moved(2)
        converge(site)
        assert list_reached(site) == [0, 1], number
        if not was_hit:
            assert number > 8
            return
