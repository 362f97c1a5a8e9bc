"""Operations followed to their end, with a real store: calls, offers, waves, crashes, nodes that leave."""

from __future__ import annotations

import asyncio

import pytest
from support.operations import NOON, OperationBench

from reconciler.core.operations import OperationResult, OperationState
from reconciler.errors import ClusterBusy, NodeRefused, NodeUnreachable
from reconciler.rollout.operation_runner import LIFETIME, REPEAT_POLLS

DONE, SENT = OperationState.DONE, OperationState.SENT
FAILED, OVERDUE = OperationState.FAILED, OperationState.OVERDUE
SKIPPED, OFFERED = OperationState.SKIPPED, OperationState.OFFERED


@pytest.fixture
async def bench(tmp_path):
    with OperationBench.opened(tmp_path) as opened:
        await opened.enter()
        yield opened


async def test_each_node_is_called_once_and_counted_once(bench):
    name = await bench.begin(("a", "b", "c"), direct=True)
    await bench.run(name)
    found = await bench.store.operation(name)
    assert {node: one.state for node, one in found.results.items()} == dict.fromkeys("abc", DONE)
    assert found.add_totals() == {"count": 3}
    assert sorted(bench.product.calls) == ["a", "b", "c"]
    assert found.is_over


async def test_the_call_is_recorded_before_it_is_made(bench):
    seen = {}

    async def look(node):
        seen[node] = (await bench.store.operation(name)).result(node).state

    bench.product.on_call = look
    name = await bench.begin(("a",), direct=True)
    await bench.run(name)
    assert seen == {"a": SENT}


async def test_a_killed_process_calls_the_node_again(bench):
    name = await bench.begin(("a", "b"), direct=True)
    await bench.store.record_results(
        name, [OperationResult("a", DONE, totals={"count": 7}, at=NOON), OperationResult("b", SENT, at=NOON)]
    )
    await bench.run(name)
    assert bench.product.calls == ["b"]
    assert (await bench.store.operation(name)).add_totals() == {"count": 8}


async def test_a_refusal_is_final_and_a_silent_node_is_called_until_it_is_overdue(bench):
    bench.product.errors = {"a": NodeRefused("a", "no", status=500), "b": NodeUnreachable("b", "no route")}
    name = await bench.begin(("a", "b", "c"), direct=True)
    await bench.run(name, pass_time=True)
    found = await bench.store.operation(name)
    assert {node: one.state for node, one in found.results.items()} == {"a": FAILED, "b": OVERDUE, "c": DONE}
    assert "no route" in found.result("b").reason
    assert bench.product.calls.count("a") == 1
    assert 3 < bench.product.calls.count("b") < 10


async def test_an_overdue_node_gets_it_when_it_is_back(bench):
    bench.product.errors = {"a": NodeUnreachable("a", "no route")}
    name = await bench.begin(("a",), direct=True)
    await bench.run(name, pass_time=True)
    assert (await bench.store.operation(name)).result("a").state is OVERDUE
    bench.product.errors = {}
    bench.clock.forward(3600)
    await bench.look()
    assert (await bench.store.operation(name)).result("a").state is DONE


async def test_after_a_day_nothing_more_is_sent(bench):
    bench.product.errors = {"a": NodeUnreachable("a", "no route")}
    name = await bench.begin(("a",), direct=True)
    await bench.run(name, pass_time=True)
    bench.clock.forward(LIFETIME.total_seconds())
    calls = len(bench.product.calls)
    await bench.look()
    assert await bench.store.open_operations() == ()
    await bench.look()
    assert len(bench.product.calls) == calls


async def test_a_defect_at_one_node_does_not_stop_the_others(bench):
    bench.product.errors = {"a": ZeroDivisionError("x")}
    name = await bench.begin(("a", "b"), direct=True)
    await bench.run(name)
    found = await bench.store.operation(name)
    assert found.result("b").state is DONE
    assert "unexpected error" in found.result("a").reason


async def test_a_wave_waits_for_the_one_before_and_a_failed_one_ends_it(bench):
    bench.product.errors = {"b": NodeRefused("b", "no", status=500)}
    name = await bench.begin(("a",), ("b", "c"), ("d",), direct=True)
    await bench.run(name)
    found = await bench.store.operation(name)
    assert bench.product.calls[0] == "a"
    assert found.result("d").state is SKIPPED
    assert "wave 2 failed at 1 of 2" in found.result("d").reason
    assert "d" not in bench.product.calls


async def test_an_overdue_wave_passes_as_the_fleet_file_says(bench):
    bench.product.errors = {"a": NodeUnreachable("a", "no route")}
    bench.max_unknown = "1"
    name = await bench.begin(("a",), ("b",), direct=True)
    await bench.run(name, pass_time=True)
    assert (await bench.store.operation(name)).result("b").state is DONE


async def test_an_overdue_wave_ends_it_otherwise(bench):
    bench.product.errors = {"a": NodeUnreachable("a", "no route")}
    name = await bench.begin(("a",), ("b",), direct=True)
    await bench.run(name, pass_time=True)
    found = await bench.store.operation(name)
    assert found.result("b").state is SKIPPED
    assert "1 overdue of 1 nodes" in found.result("b").reason


async def test_a_node_that_left_is_skipped(bench):
    name = await bench.begin(("a", "b"), direct=True)
    bench.nodes = ("b",)
    await bench.run(name)
    found = await bench.store.operation(name)
    assert found.result("a").state is SKIPPED
    assert found.result("b").state is DONE
    assert bench.product.calls == ["b"]


async def test_a_cluster_that_left_ends_its_operations(bench):
    name = await bench.begin(("a", "b"), direct=True)
    bench.nodes = ()
    await bench.look()
    assert (await bench.store.operation(name)).count_states() == {SKIPPED: 2}


async def test_nothing_is_sent_while_the_cluster_is_held(bench):
    name = await bench.begin(("a",), direct=True)
    bench.hold = "changes are frozen"
    await bench.look()
    assert bench.product.calls == []
    bench.clock.forward(600)
    await bench.look()
    found = await bench.store.operation(name)
    assert found.result("a").state is OVERDUE
    assert "changes are frozen" in found.result("a").reason
    bench.hold = ""
    await bench.look()
    assert (await bench.store.operation(name)).result("a").state is DONE


async def test_two_processes_do_not_call_the_same_node(bench):
    name = await bench.begin(("a",), direct=True)
    async with bench.store.lock_operations("edge"):
        await bench.look()
        assert bench.product.calls == []
        with pytest.raises(ClusterBusy, match="are performed by process"):
            async with bench.store.lock_operations("edge"):
                pass
    await bench.run(name)
    assert bench.product.calls == ["a"]


async def test_a_stop_lets_calls_end_and_starts_no_more(bench):
    stop = asyncio.Event()
    bench.concurrency = 1

    async def halt(_node):
        stop.set()

    bench.product.on_call = halt
    name = await bench.begin(("a", "b", "c"), ("d",), direct=True)
    await bench.runner().run(stop)
    found = await bench.store.operation(name)
    assert found.count_states()[DONE] == 1
    assert len(bench.product.calls) == 1


async def test_the_end_of_an_operation_is_told_once(bench):
    told = []
    bench.runner().on_over = told.append
    bench.product.errors = {"a": NodeUnreachable("a", "no route")}
    name = await bench.begin(("a",), direct=True)
    await bench.run(name, pass_time=True)
    await bench.look()
    await bench.look()
    assert [one.id for one in told] == [name]


async def test_a_new_operation_is_performed_at_once(bench):
    stop, runner = asyncio.Event(), bench.runner()
    runner.tick = 60
    bench.nodes = ("a",)
    task = asyncio.create_task(runner.run(stop))
    await asyncio.sleep(0.1)
    name = await bench.begin(("a",), direct=True)
    runner.wake.set()
    async with asyncio.timeout(10):
        while not (await bench.store.operation(name)).is_over:
            await asyncio.sleep(0.01)
    assert not runner.wake.is_set(), "else it would look again and again"
    stop.set()
    await task


# Nodes that poll.


async def test_it_is_offered_taken_and_reported(bench):
    name = await bench.begin(("a", "b"), period=15)
    await bench.look()
    assert (await bench.store.operation(name)).count_states() == {OFFERED: 2}
    await bench.take("a")
    await bench.look()
    assert (await bench.store.operation(name)).result("a").state is SENT
    await bench.report("a", count=3)
    await bench.report("a", count=3)  # twice: it counts once
    await bench.take("b")
    await bench.report("b", count=4)
    found = await bench.store.operation(name)
    assert found.is_over
    assert found.add_totals() == {"count": 7}
    await bench.look()
    assert await bench.store.open_operations() == ()


async def test_an_offer_of_a_killed_process_is_found_again(bench):
    name = await bench.begin(("a",), period=15)
    before = await bench.offer(name, "a")
    await bench.look()
    assert (await bench.store.newest_offers("edge", bench.product.feed))["a"].id == before.id
    assert (await bench.store.operation(name)).result("a").state is OFFERED


async def test_a_second_purge_waits_until_the_first_is_taken(bench):
    first = await bench.begin(("a",), period=15)
    await bench.look()
    second = await bench.begin(("a",), period=15)
    await bench.look()
    assert (await bench.newest("a")).run == first
    await bench.take("a")
    await bench.look()
    assert (await bench.newest("a")).run == second
    await bench.take("a")
    await bench.report("a", run=first, count=1)
    await bench.report("a", run=second, count=0)
    for name in (first, second):
        assert (await bench.store.operation(name)).count_states() == {DONE: 1}


async def test_a_node_that_took_it_and_does_not_report_gets_it_again(bench):
    name = await bench.begin(("a",), period=15)
    await bench.look()
    first = await bench.take("a")
    await bench.look()
    bench.clock.forward(15 * REPEAT_POLLS - 1)
    await bench.look()
    assert (await bench.newest("a")).id == first.id
    bench.clock.forward(2)
    await bench.look()
    again = await bench.newest("a")
    assert again.id != first.id
    assert again.run == name
    assert again.last_modified > first.last_modified
    await bench.take("a")
    await bench.report("a", count=2)
    assert (await bench.store.operation(name)).add_totals() == {"count": 2}


async def test_a_new_process_repeats_no_earlier(bench):
    await bench.begin(("a",), period=15)
    await bench.look()
    first = await bench.take("a")
    await bench.look(fresh=True)
    await bench.look(fresh=True)
    assert (await bench.newest("a")).id == first.id


async def test_a_silent_node_is_overdue_and_a_late_report_counts(bench):
    name = await bench.begin(("a", "b"), period=15)
    await bench.look()
    bench.clock.forward(15 * 20 + 1)
    await bench.look()
    found = await bench.store.operation(name)
    assert found.count_states() == {OVERDUE: 2}
    assert found.result("a").reason == "it did not poll"
    assert found.is_over
    bench.clock.forward(3600)
    await bench.take("a")
    await bench.report("a", count=9)
    assert (await bench.store.operation(name)).add_totals() == {"count": 9}
    assert (await bench.newest("b")).is_visible(bench.clock())
    bench.clock.forward(LIFETIME.total_seconds())
    assert not (await bench.newest("b")).is_visible(bench.clock())


async def test_a_failed_report_is_told(bench):
    name = await bench.begin(("a",), period=15)
    await bench.look()
    await bench.take("a")
    await bench.report("a", failure="Bad Gateway")
    found = await bench.store.operation(name)
    assert found.result("a").state is FAILED
    assert found.result("a").reason == "Bad Gateway"


async def test_the_deadline_of_a_held_wave_counts_from_its_offers(bench):
    name = await bench.begin(("a",), ("b",), period=15)
    await bench.look()
    await bench.take("a")
    bench.clock.forward(14 * 20)
    await bench.report("a", count=1)
    await bench.look()
    await bench.look()
    bench.clock.forward(15 * 19)
    await bench.look()
    assert (await bench.store.operation(name)).result("b").state is OFFERED
