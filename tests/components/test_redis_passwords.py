"""Passwords and keys of a real Redis: changes are true after a restart, as a client not ours sees them."""

import shutil
from pathlib import Path

import pytest
import redis as redis_py
from support.valkey_servers import ValkeyServer, find_valkey

from reconciler.core.secret import Secret
from reconciler.drivers.collab.redis_client import READS, RedisClient, hash_login
from reconciler.drivers.collab.redis_conf import RedisConf, read_file_login
from reconciler.errors import NodeRefused, NodeUnauthorized, NodeUnreachable
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.transport import Transports
from reconciler.transports.streams import StreamTransport

CONTENT = "# people\nbind 127.0.0.1\nrequirepass old\nmaxmemory 100mb\n"


pytestmark = pytest.mark.component("redis-server")


def find_program(name):
    if name == "valkey":
        return find_valkey()
    return Path(shutil.which(name))


@pytest.fixture(params=["valkey", "redis-server"])
def make_server(request, tmp_path):
    program, made = find_program(request.param), []

    def make(content=CONTENT):
        made.append(ValkeyServer(tmp_path, content, program))
        made[-1].start()
        return made[-1]

    yield make
    for server in made:
        if server.process.poll() is None:
            server.stop()


def client(server, *logins, reading=False):
    streams = StreamTransport()
    if reading:
        streams = restrict_to_reading(Transports(streams=streams), READS).streams
    return RedisClient(streams, "redis", f"127.0.0.1:{server.port}", 5, logins)


def is_let_in(server, password):
    """Whether a client that is not ours is let in."""
    with redis_py.Redis(port=server.port, password=password, socket_timeout=5) as found:
        try:
            return found.ping()
        except redis_py.exceptions.AuthenticationError:
            return False


def who_is_let_in(server, *passwords):
    return [password for password in passwords if is_let_in(server, password)]


async def test_what_it_shows(make_server):
    server = make_server()
    view = await client(server, "old", reading=True).observe(
        "new", ["bind", "maxmemory", "requirepass", "nosuch"]
    )
    assert (view.accepts, view.is_open, view.is_logged_in, view.is_loading) == (False, False, True, False)
    assert view.passwords == {hash_login("old")}
    assert dict(view.config) == {"bind": "127.0.0.1", "maxmemory": "104857600"}
    assert (len(view.run_id), view.acl_file) == (40, "")
    server.restart()
    again = await client(server, reading=True).observe("old")
    assert again.accepts
    assert again.run_id != view.run_id


async def test_without_a_password_it_is_open(make_server):
    server = make_server("bind 127.0.0.1\n")
    view = await client(server, reading=True).observe("new")
    assert (view.accepts, view.is_open, view.passwords) == (False, True, frozenset())


async def test_no_right_password(make_server):
    server = make_server()
    view = await client(server, "no", reading=True).observe("new")
    assert (view.is_logged_in, view.accepts) == (False, False)
    with pytest.raises(NodeUnauthorized, match="refuses every password"):
        await client(server, "no").add_password("new")
    assert who_is_let_in(server, "old", "new", "no") == ["old"]


async def test_a_new_password_beside_the_old_one_and_then_alone_each_true_after_a_restart(make_server):
    server = make_server()
    redis = client(server, "old", "new")
    await redis.add_password("new")
    for _ in range(2):
        assert who_is_let_in(server, "old", "new", "x", None) == ["old", "new"]
        assert [await redis.accepts(one) for one in ("old", "new", "x")] == [True, True, False]
        server.restart()
    assert read_file_login(server.file.read_bytes()).passwords == {hash_login("old"), hash_login("new")}
    await redis.keep_only("new")
    for _ in range(2):
        assert who_is_let_in(server, "old", "new", "x", None) == ["new"]
        server.restart()
    assert read_file_login(server.file.read_bytes()).passwords == {hash_login("new")}
    assert "# people" in server.content
    await redis.keep_only("new")
    await redis.add_password("new")
    assert who_is_let_in(server, "old", "new") == ["new"]


async def test_an_edited_password_counts_although_the_file_was_rewritten(make_server):
    server = make_server()
    await client(server, "old").add_password("new")
    server.stop()
    # What a person would do: Redis goes on with the line that its rewrite left.
    edited = (
        server.file.read_bytes()
        .replace(b'requirepass "old"', b"requirepass third")
        .replace(b"requirepass old", b"requirepass third")
    )
    server.file.write_bytes(edited)
    server.start()
    assert who_is_let_in(server, "old", "new", "third") == ["old", "new"]
    assert read_file_login(edited).passwords == {hash_login("old"), hash_login("new")}
    server.stop()
    conf = RedisConf({"requirepass": Secret("third", "${env:P}")})
    server.file.write_bytes(conf.render(edited))
    server.start()
    assert who_is_let_in(server, "old", "new", "third") == ["third"]


@pytest.mark.parametrize(
    "password", ["a b", "q\"u'o", "back\\slash", "tab\there", "ümlaut", "#x", "'", "\\x41"]
)
async def test_any_password_is_written_so_that_it_is_read_back(make_server, password):
    server = make_server()
    server.stop()
    conf = RedisConf({"requirepass": password, "bind": "127.0.0.1 -::1", "save": "3600 1 300 100"})
    server.file.write_bytes(conf.render(server.file.read_bytes()))
    server.start()
    assert who_is_let_in(server, password, "old") == [password]
    # And after Redis itself has written its file.
    redis = client(server, password)
    await redis.keep_only(password)
    rewritten = server.file.read_bytes()
    assert conf.find_changes(rewritten, "redis") == ()
    assert conf.render(rewritten) == rewritten
    assert read_file_login(rewritten).passwords == {hash_login(password)}


async def test_a_file_that_cannot_be_written_is_told(make_server):
    server = make_server()
    server.file.unlink()
    server.file.mkdir()
    with pytest.raises(NodeRefused, match="would be lost at a restart"):
        await client(server, "old").add_password("new")
    server.file.rmdir()


async def test_a_user_without_the_right_to_change_is_told(make_server):
    server = make_server(f"user default on #{hash_login('old')} ~* &* +@all -acl -config\n")
    view = await client(server, reading=True).observe("old", ["bind"])
    assert (view.accepts, view.passwords, dict(view.config)) == (True, None, {})
    for call in (client(server, "old").add_password("new"), client(server, "old").keep_only("new")):
        with pytest.raises(NodeUnauthorized, match="may not run") as caught:
            await call
        assert "new" not in str(caught.value).replace("renew", "")
    assert who_is_let_in(server, "old", "new") == ["old"]


async def test_a_server_that_is_away(make_server):
    server = make_server()
    server.stop()
    with pytest.raises(NodeUnreachable, match="connection refused") as caught:
        await client(server, "old").add_password("new")
    assert not caught.value.is_lost
