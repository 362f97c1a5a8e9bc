"""Every execution of a delivery of sora.conf with its restarts and a fault, within bounds: nothing breaks."""

import pytest
from scenes import CONF, confs

from reconciler.drivers.sora.cluster_state import make_formed_state
from reconciler.file_delivery.model import ModelFile

THREE = make_formed_state([False] * 3)


@pytest.mark.parametrize("unfit", [False, True])
@pytest.mark.parametrize("drain", [0, 60])
def test_no_execution_of_a_delivery_with_a_fault_breaks_an_invariant(unfit, drain):
    found = confs(THREE, unfit=unfit, drain=drain)()
    assert (found.broken, found.complete) == ("", True), found.story
    assert found.states > 1_000


@pytest.mark.parametrize(("restarts", "faults"), [(1, 1), (2, 1), (1, 2)])
def test_a_node_that_is_down_with_an_unfit_file_comes_back_in_spite_of_faults(restarts, faults):
    file = ModelFile(CONF, backup=b"cluster_relay = true\n")
    first = THREE[0]._replace(up=False, file=file, restarts=restarts)
    found = confs((first, *THREE[1:]), unfit=True, faults=faults)()
    assert (found.broken, found.complete) == ("", True), found.story
