"""The simulated Redis of a collab cluster beside a real Valkey: the same bytes, the same answers."""

import re

import pytest
from support.collab_worlds import make_world
from support.valkey_servers import ValkeyConversation, ValkeyServer

CONTENT = "# people\nbind 127.0.0.1\n\nrequirepass old\n"
SERVERS = {
    "with a password": CONTENT,
    "without one": "bind 127.0.0.1\n",
    "with a user": f"bind 127.0.0.1\nrequirepass old\nuser default on #{'a' * 64} >other ~* &* +@all\n",
}
CONVERSATIONS = {
    "not logged in": ["PING", "ping x", "ACL LIST", "FOO a b", "SELECT 0", "AUTH", "HELLO 3",
                      "PING a b c", "CONFIG", "CONFIG FOO", "INFO", "QUIT"],
    "log in": ["AUTH wrong", "AUTH other wrong", "AUTH default old", "AUTH old", "AUTH a b c", "PING",
               "PING hello", "AUTH wrong", "PING"],
    "hello": ["HELLO 4", "HELLO x", "HELLO 3 AUTH default wrong", "HELLO 2 WHAT", "HELLO 3 AUTH nobody old"],
    "errors": ["AUTH old", "AUTH other", "CONFIG GET", "CONFIG SET requirepass", "CONFIG SET nosuch 1",
               "CONFIG SET protected-mode maybe", "ACL SETUSER", "ACL SETUSER default nosuch",
               "ACL SETUSER default <absent", "ACL SETUSER default #abc", "ACL GETUSER nobody", "ACL WHOAMI",
               "SELECT 16", "SELECT x", "CLIENT SETINFO lib-name x", "FOO 'a b' c", "CONFIG REWRITE now",
               "config get bind nosuch", "CONFIG GET protected-*"],
    "passwords": ["AUTH old", "AUTH other", "ACL SETUSER default >zwei", "ACL LIST", "AUTH zwei",
                  "CONFIG REWRITE", "ACL SETUSER default <old", "AUTH old", "ACL SETUSER default >a <absent",
                  "AUTH a", "ACL LIST", "CONFIG REWRITE"],
    "required": ["AUTH old", "AUTH other", "CONFIG SET requirepass third", "ACL LIST", "AUTH third",
                 "CONFIG REWRITE", "CONFIG SET requirepass ''", "AUTH x", "AUTH default x", "ACL LIST"],
    "resp3": ["HELLO 3 AUTH default old", "CONFIG GET bind", "ACL GETUSER nobody", "PING", "FOO"],
    "quit": ["AUTH old", "QUIT", "PING"],
    "quotes": ['PING "a b"', "AUTH old", 'PING "a\\x41\\n"', "PING 'it\\'s'", "PING 'open"],
    "post": ["POST / HTTP/1.1"],
    "host": ["AUTH old", "Host: x"],
}  # fmt: skip
RAW = {
    "array": [b"*2\r\n$4\r\nAUTH\r\n$3\r\nold\r\n*1\r\n$4\r\nPING\r\n"],
    "letters": [b"*x\r\n"],
    "mark": [b"*1\r\n+PING\r\n"],
    "length": [b"*1\r\n$99999999999\r\n"],
    "negative": [b"*1\r\n$-5\r\n"],
    "many": [b"*11\r\n"],
    "long": [b"*1\r\n$16385\r\n"],
    "none": [b"*0\r\nPING\r\n"],
    "less than none": [b"*-1\r\nPING\r\n"],
    "line": [b"x" * 70_000],
    "blank": [b"\r\n\r\nPING\r\n"],
}


def compare(text):
    """An answer without what differs from server to server."""
    text = re.sub(rb"(#[0-9a-f]{64} )+", lambda found: b" ".join(sorted(found[0].split())) + b" ", text)
    if text[:1] in {b"*", b"%"} and b"modules" in text:
        return b"hello"
    return b"info" if b"# Server" in text else text


@pytest.fixture(scope="module", params=sorted(SERVERS))
def content(request):
    return SERVERS[request.param]


def converse(session, parts):
    answers = []
    for part in parts:
        answers.append(compare(session.receive(part)))
        if session.is_over:
            break
    return answers


@pytest.mark.parametrize("name", [*CONVERSATIONS, *RAW])
def test_both_answer_the_same(name, content, tmp_path):
    parts = RAW.get(name) or [f"{line}\r\n".encode() for line in CONVERSATIONS[name]]
    world = make_world(redis_file=content.encode())
    with ValkeyServer(tmp_path, content) as server:
        real = ValkeyConversation(server.port)
        expected = converse(real, parts)
        real.close()
    answers = converse(world.open_session("redis"), parts)
    # The end of a connection is seen at once here, and on a real one by the next reading.
    length = min(len(answers), len(expected))
    assert answers[:length] == expected[:length]
    assert all(one == b"" for one in (*answers[length:], *expected[length:]))


@pytest.mark.parametrize("change", ["ACL SETUSER default >zwei", "CONFIG SET requirepass zwei", "PING"])
def test_a_rewritten_file_lets_in_the_same_after_a_restart(change, content, tmp_path):
    world = make_world(redis_file=content.encode())
    commands = [b"AUTH old\r\n", b"AUTH other\r\n", f"{change}\r\n".encode(), b"CONFIG REWRITE\r\n"]
    tries = [f"AUTH default {word}\r\n".encode() for word in ("old", "other", "zwei", "x")]
    with ValkeyServer(tmp_path, content) as server:
        real = ValkeyConversation(server.port)
        assert converse(real, commands) == converse(world.open_session("redis"), commands)
        real.close()
        server.stop()
        server.start()
        world.restart("redis")
        real = ValkeyConversation(server.port)
        assert converse(real, tries) == converse(world.open_session("redis"), tries)
        real.close()
        # And each reads the other's file.
        server.stop()
        server.file.write_text(server.head + world.content("redis").decode())
        server.start()
        real = ValkeyConversation(server.port)
        assert converse(real, tries) == converse(world.open_session("redis"), tries)
        real.close()
