"""What many nodes show is read once, apart from the event loop where it is large, within one bound."""

import json
import threading

import pytest
from support.m2_wire import BASE, WorldWire, cluster_input, setting, world

from reconciler.core.observation import Liveness, Present, Unreachable
from reconciler.drivers.m2 import product as m2_driver
from reconciler.drivers.m2.content import ContentCache, ContentTooLarge
from reconciler.drivers.m2.product import DRIVER
from reconciler.ports.transport import Transports

NODES = ("edge-01", "edge-02", "edge-03")


def body(outbox_message, size=10_000):
    return json.dumps(setting(env__properties__note=outbox_message * size)).encode()


def test_different_settings_are_read_up_to_a_bound_and_known_ones_beyond_it():
    contents = ContentCache(25_000)
    first, second = contents.read(body("a")), contents.read(body("b"))
    with pytest.raises(ContentTooLarge, match="more than 25,000 bytes"):
        contents.read(body("c"))
    assert contents.read(body("a")) is first
    assert contents.read(body("b")) is second


def test_settings_that_differ_only_in_their_version_share_all_other_sections():
    contents = ContentCache(12_000)
    for number in range(100):
        document = setting(meta__version=str(number), env__properties__note="a" * 10_000)
        assert contents.read(json.dumps(document).encode()).version == str(number)


class Showing(WorldWire):
    """Each node shows a setting of its own size."""

    def __init__(self, sizes):
        super().__init__(world(nodes=NODES))
        self.sizes = sizes

    async def send(self, method, url, *, node, **more):
        answer = await super().send(method, url, node=node, **more)
        if not url.endswith("/setting/setting.json"):
            return answer
        return type(answer)(200, {}, body(node[-1], self.sizes[node]))


async def test_a_node_beyond_the_memory_limit_is_unread_and_no_other(monkeypatch):
    monkeypatch.setattr(m2_driver, "MAX_SECTION_BYTES", 50_000)
    wire = Showing({"edge-01": 10, "edge-02": 100_000, "edge-03": 10})
    desired = DRIVER.desire(cluster_input(nodes=NODES))
    seen = (await DRIVER.observe(desired, Transports(wire))).nodes
    assert {node for node, answer in seen.items() if isinstance(answer, Present)} == {"edge-01", "edge-03"}
    assert isinstance(seen["edge-02"], Unreachable)
    assert seen["edge-02"].liveness is Liveness.ALIVE
    assert "more than 50,000 bytes" in seen["edge-02"].reason


async def test_a_large_setting_is_read_outside_the_event_loop_one_at_a_time(monkeypatch):
    sound, busy, threads = ContentCache.of, threading.Lock(), []

    def read(contents, document):
        assert busy.acquire(blocking=False)
        threads.append(threading.current_thread())
        try:
            return sound(contents, document)
        finally:
            busy.release()

    desired = DRIVER.desire(cluster_input(BASE, nodes=NODES))
    monkeypatch.setattr(ContentCache, "of", read)
    seen = await DRIVER.observe(desired, Transports(Showing(dict.fromkeys(NODES, 300_000))))
    assert [answer for answer in seen.nodes.values() if not isinstance(answer, Present)] == []
    large = [thread for thread in threads if thread is not threading.main_thread()]
    assert len(large) == 3
