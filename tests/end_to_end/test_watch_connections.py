"""A running watch keeps its connections to nodes from pass to pass, and gives them up when it ends."""

import asyncio

import pytest
from support.git_repositories import Repository
from support.http_servers import listening
from support.m2_settings import managed_setting
from support.waiting import wait_until
from support.watch_process import Stage


class Node:
    """A node of M2 that counts its connections.

    Args:
        answers: how many requests it answers on one connection.
    """

    def __init__(self, setting, answers=1_000_000):
        self.setting = setting.encode()
        self.answers = answers
        self.connections = 0
        self.open = 0
        self.calls = []

    async def serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        try:
            for _ in range(self.answers):
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.decode().split(" ", 2)
                self.calls.append(f"{method} {path}")
                body = self.setting
                if method == "POST":
                    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                    self.setting = await reader.readexactly(length)
                    body = b'{"version":"1","method":"reloadall","status":"OK","result":"accepted"}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


def files(setting, *urls):
    nodes = "".join(f"  - {{name: edge-{number}, address: '{url}'}}\n" for number, url in enumerate(urls))
    fleet = f"clusters:\n- name: edge\n  kind: m2\n  setting: setting.json\n  nodes:\n{nodes}"
    return {"fleet.yaml": fleet, "setting.json": setting}


async def test_passes_and_a_change_need_two_connections_to_a_node(tmp_path):
    first, second = managed_setting("a.example.com"), managed_setting("a.example.com", "b.example.com")
    stage, node = Stage(tmp_path), Node(first)
    async with listening(node.serve) as url:
        repository = Repository.make(tmp_path / "edge", files(first, url))
        options = ("--interval", "0.2s", "--poll", "0.2s")
        async with stage.watch(*options, source=f"file://{repository.folder}"):
            await wait_until(lambda: node.calls.count("GET /setting/setting.json") >= 5)
            assert node.connections == 1
            repository.commit({"setting.json": second})
            await wait_until(lambda: "POST /setting/upload" in node.calls)
            done = len(node.calls)
            await wait_until(lambda: len(node.calls) > done + 10)
            # one for the readings of all passes, one for the change
            assert (node.connections, node.calls.count("POST /setting/upload")) == (2, 1)
            assert node.open == 1
        await wait_until(lambda: node.open == 0)


@pytest.mark.parametrize("answers", [1, 2, 3])
async def test_a_node_that_closes_its_connections_costs_no_error_and_no_second_change(tmp_path, answers):
    first, second = managed_setting("a.example.com"), managed_setting("a.example.com", "b.example.com")
    stage, node = Stage(tmp_path), Node(first, answers)
    async with listening(node.serve) as url:
        repository = Repository.make(tmp_path / "edge", files(first, url))
        options = ("--interval", "0.2s", "--poll", "0.2s")
        async with stage.watch(*options, source=f"file://{repository.folder}") as watch:
            await wait_until(lambda: node.calls.count("GET /setting/setting.json") >= 5)
            repository.commit({"setting.json": second})
            assert (await watch.said("step ended", node="edge-0"))["state"] == "done"
            done = len(node.calls)
            await wait_until(lambda: len(node.calls) > done + 10)
            assert node.calls.count("POST /setting/upload") == 1
            ended = [line for line in watch.lines if line["event"] == "pass ended"]
            # A pass that reads while the commit arrives is stopped, and a new one begins.
            assert {line["result"] for line in ended} - {"stopped"} == {"converged", "applied"}
            assert not any("unread_nodes" in line for line in ended)
