"""The oracle of files: damage is found by what the machine has, whatever the answer was."""

import pytest

from reconciler.core.file_state import NO_FILE, compute_file_digest
from reconciler.fault_trials.file_oracle import FileOracle
from reconciler.ports.simulated_machine import SimulatedFile, SimulatedMachine
from reconciler.ports.simulator import FILES_KEPT, NodeRequest, RequestWay

OLD, NEW = b"a = 1\n", b"a = 2\n"


class Silent:
    """The oracle of a product that finds nothing."""

    def state(self):
        return None

    def find_broken_invariant(self, node, request, before, after):
        return "", ""

    def is_repetition(self, node, request, before, after):
        return False

    def find_affected_node(self, node, request):
        return "somebody else"

    def list_differences(self):
        return []


@pytest.fixture
def file():
    return SimulatedFile(OLD, staged=NEW)


@pytest.fixture
def oracle(file):
    machines = {"n": SimulatedMachine({"conf": file})}
    return FileOracle(Silent(), lambda: machines)


def call(operation, body=b"", *, before=OLD, after=NEW):
    headers = {"x-before": compute_file_digest(before), "x-after": compute_file_digest(after)}
    return NodeRequest(operation, "conf", headers, body, "127.0.0.1", RequestWay.FILE)


def judge(oracle, file, request, **changes):
    before = oracle.state()
    for name, value in changes.items():
        setattr(file, name, value)
    return oracle.find_broken_invariant("n", request, before, oracle.state())


def test_a_switch_of_what_was_checked_is_sound(oracle, file):
    assert judge(oracle, file, call("switch"), content=NEW, backup=OLD, staged=None) == ("", "")


def test_a_restore_of_the_backup_is_sound(oracle, file):
    file.content, file.backup, file.staged = NEW, OLD, None
    assert judge(oracle, file, call("restore", before=NEW, after=OLD), content=OLD) == ("", "")


DAMAGE = {
    "half a content": ("switch", {"content": NEW[:3], "backup": OLD}, {}, "another content"),
    "no backup": ("switch", {"content": NEW}, {}, "left no backup"),
    "over a foreign change": ("switch", {"content": NEW, "backup": OLD}, {"before": b"x"}, "somebody else"),
    "by a write aside": ("stage", {"content": NEW}, {}, "changed the file itself"),
    "a file that is gone": ("switch", {"content": None}, {}, "another content"),
}


@pytest.mark.parametrize("case", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_found(oracle, file, case):
    operation, changes, digests, words = case
    invariant, told = judge(oracle, file, call(operation, **digests), **changes)
    assert invariant == FILES_KEPT
    assert words in told
    assert "conf on n" in told


def test_what_was_not_checked_is_found(oracle, file):
    file.staged = b"something else"
    assert "was not checked" in judge(oracle, file, call("switch"), content=NEW, backup=OLD)[1]


def test_a_content_that_is_there_is_not_to_be_written_again(oracle):
    state = oracle.state()
    assert oracle.is_repetition("n", call("stage", NEW), state, state)
    assert oracle.is_repetition("n", call("stage", OLD), state, state)
    assert not oracle.is_repetition("n", call("stage", b"other"), state, state)
    assert not oracle.is_repetition("n", call("discard"), state, state)


def test_what_lies_beside_a_file_is_told(oracle, file):
    assert oracle.list_differences() == ["content that nothing needs lies beside conf of n"]
    file.staged = None
    assert oracle.list_differences() == []
    state = oracle.state()
    assert oracle.is_repetition("n", call("discard"), state, state)


def test_a_call_to_a_machine_is_about_its_own_node(oracle):
    assert oracle.find_affected_node("n", call("stage")) == "n"
    request = NodeRequest("POST", "/", {}, b"", "127.0.0.1")
    assert oracle.find_affected_node("n", request) == "somebody else"


def test_a_state_is_not_changed_by_what_comes_after_it(oracle, file):
    before = oracle.state()
    file.content = NEW
    assert before != oracle.state()
    assert before.files["n", "conf"].content == OLD
    assert compute_file_digest(None) == NO_FILE
