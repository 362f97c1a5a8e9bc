"""Whatever a machine changes in a gate, an exit status, a mask or the order of a run, a check fails."""

import ast

import pytest
from mutation import running, source_of
from planting import faults
from rules import ORDER, RULES, plain

from reconciler.core.outcome import RunReport


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_fault_that_a_machine_plants_is_found(rule):
    rule.check()
    missed, planted = set(), 0
    for fault in rule.faults():
        planted += 1
        if not rule.finds(fault):
            missed.add(fault.place)
    assert missed == set(rule.alike)
    assert planted > 10
    rule.check()


def test_a_machine_plants_each_fault_by_itself_and_takes_it_away():
    whole = RunReport.exit_status.fget
    code, source = whole.__code__, ast.unparse(ast.parse(source_of(whole)).body[0].body)
    texts = [ast.unparse(fault.module.body[0].body) for fault in faults(whole)]
    assert len(set(texts)) == len(texts)
    assert source not in texts
    for fault in faults(whole):
        with running(fault.function, fault.module):
            assert whole.__code__ is not code
        assert whole.__code__ is code


def test_orders_of_statements_are_among_the_faults():
    words = [fault.place for one in ORDER for fault in faults(plain(one))]
    assert "RunLog._record_together: for ending in endings: sooner" in words
    assert any("await self.store.record_outcomes" in word and word.endswith("later") for word in words), words
    assert any("listener.on_run_begun(run) sooner" in word for word in words), words
    assert "RunLog._record_together: without self.listener.on_step_ended(ending.outcome)" in words
