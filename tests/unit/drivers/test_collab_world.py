"""A simulated collab cluster: its answers over HTTP, its balancer, its commands, and its Redis session."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.collab_worlds import AT_ONCE, HANDSHAKE, REDIS_FILE, get, make_config, make_nginx, make_world

from reconciler.drivers.collab.choices import (
    Choices,
    InvalidReload,
    PausedStatus,
    RedisLoss,
    StartShown,
)
from reconciler.drivers.collab.cluster_state import hash_password
from reconciler.drivers.collab.simulator.files import edit_config
from reconciler.drivers.collab.simulator.loaded_files import read_redis_file
from reconciler.drivers.collab.status_view import parse_status
from reconciler.errors import NodeRefused


def view(world, node, peer="127.0.0.1"):
    status, _, body = world.answer(node, get(peer=peer))
    return parse_status(body, is_success=status == 200) if status in {200, 503} else None


# --- HTTP


def test_a_server_shows_its_status_in_the_documented_form():
    world = make_world()
    shown = view(world, "c1")
    assert shown.is_healthy
    assert (shown.version, shown.scaling, shown.logging, shown.enable_tls) == (
        "11.0.0.720",
        "horizontal",
        True,
        False,
    )
    assert shown.up_since_time is not None
    status, headers, body = world.answer("c1", get())
    assert status == 200
    assert headers["Content-Type"].startswith("application/json")
    assert "reason" not in json.loads(body)


def test_a_started_server_is_silent_and_then_paused_and_then_serves():
    world = make_world(choices=Choices(start_readings=1, paused_readings=2))
    shown = [view(world, "c1") for _ in range(4)]
    assert shown[0] is None
    assert [one.is_healthy for one in shown[1:]] == [False, False, True]
    assert shown[1].missing_services == ("Redis Server",)


@pytest.mark.parametrize("choice", PausedStatus)
def test_without_its_services_a_server_is_paused_and_names_them(choice):
    world = make_world(choices=replace(AT_ONCE, paused_status=choice))
    world.kill("redis")
    world.fail_database()
    shown = view(world, "c1")
    assert shown.missing_services == ("DB Service", "Redis Server")
    assert not shown.is_healthy
    assert world.answer("c1", get())[0] == int(choice)


@pytest.mark.parametrize("choice", StartShown)
def test_every_restart_can_be_seen_whatever_of_it_is_shown(choice):
    world = make_world(choices=replace(AT_ONCE, start_shown=choice))
    starts = {view(world, "c1").start}
    for _ in range(5):
        world.restart("c1")
        starts.add(view(world, "c1").start)
    assert len(starts) == 6


@pytest.mark.parametrize("word", ["running", "active", ""])
def test_the_word_of_health_is_an_option(word):
    assert view(make_world(choices=replace(AT_ONCE, healthy_state=word)), "c1").is_healthy


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), 404),
        (get("/status/"), 404),
        (get(method="POST"), 404),
        (get("/socket.io/"), 400),
        (get("/socket.io/?EIO=4&transport=smoke"), 400),
        (get("/socket.io/?EIO=4&transport=websocket"), 400),
        (get("/socket.io/?EIO=4&transport=polling"), 200),
        (HANDSHAKE, 101),
        (replace(HANDSHAKE, headers=HANDSHAKE.headers | {"sec-websocket-version": "8"}), 400),
    ],
)
def test_a_server_is_strict(request_, status):
    assert make_world().answer("c1", request_)[0] == status


def test_a_handshake_is_answered_with_the_digest_of_its_key():
    _, headers, _ = make_world().answer("lb", HANDSHAKE)
    assert headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "as in RFC 6455"


# --- the load balancer


def test_the_balancer_keeps_a_network_on_one_server_and_spreads_networks():
    world = make_world(3)
    for octet in range(8):
        pids = {view(world, "lb", f"127.0.{octet}.{host}").pid for host in (1, 2, 250)}
        assert len(pids) == 1
    assert len({world.choose(f"127.0.{octet}.1") for octet in range(60)}) == 3


def test_without_ip_hash_it_takes_turns():
    world = make_world(2)
    file = world.machines["lb"].files["nginx"]
    file.content = file.content.replace(b"ip_hash;", b"")
    world.reload("lb")
    assert view(world, "lb").pid != view(world, "lb").pid


def test_it_leaves_out_what_is_down_and_tells_when_nothing_is_left():
    world = make_world(2)
    world.kill("c1")
    for octet in range(5):
        assert view(world, "lb", f"127.0.{octet}.1").pid == view(world, "c2").pid
    world.kill("c2")
    status, _, body = world.answer("lb", get())
    assert status == 502
    assert b"nginx" in body


def test_it_hands_on_only_what_its_loaded_file_says():
    world = make_world(1)
    assert world.answer("lb", get("/api"))[0] == 404
    file = world.machines["lb"].files["nginx"]
    file.content = file.content.replace(b"$http_upgrade", b"close")
    assert world.answer("lb", HANDSHAKE)[0] == 101, "not loaded yet"
    world.reload("lb")
    assert world.answer("lb", HANDSHAKE)[0] != 101
    assert view(world, "lb").is_healthy


def test_it_shows_a_header_of_its_file_at_the_status():
    world = make_world(1)
    file = world.machines["lb"].files["nginx"]
    file.content = file.content.replace(b"location /status {", b"location /status { add_header X-File 'a b';")
    world.reload("lb")
    assert world.answer("lb", get())[1]["X-File"] == "a b"
    assert "X-File" not in world.answer("lb", HANDSHAKE)[1]


@pytest.mark.parametrize("choice", InvalidReload)
def test_an_invalid_file_is_never_loaded(choice):
    world = make_world(2, choices=replace(AT_ONCE, invalid_reload=choice))
    world.machines["lb"].files["nginx"].content = b"events { } http { ......"
    if choice is InvalidReload.REFUSE:
        with pytest.raises(NodeRefused):
            world.reload("lb")
    else:
        world.reload("lb")
    assert world.loaded_invalid
    assert view(world, "lb").is_healthy, "the former file stays in force"
    world.kill("lb")
    world.start("lb")
    assert not world.running("lb")


def test_the_check_of_each_file_is_that_of_its_process():
    world = make_world(1)
    assert world.check("c1", b"{").startswith("config.json")
    assert world.check("redis", b"bind").startswith("redis.conf:1")
    assert world.check("lb", b"}").startswith("nginx: [emerg]")
    for node, content in (("c1", make_config()), ("redis", REDIS_FILE), ("lb", make_nginx("a:1"))):
        assert world.check(node, content) == ""


# --- commands


def test_a_server_with_an_invalid_file_does_not_come_back():
    world = make_world(2)
    world.machines["c1"].files["config"].content = b"{ ....... }"
    with pytest.raises(NodeRefused):
        world.restart("c1")
    assert not world.running("c1")
    assert view(world, "c2").is_healthy


def test_a_wrong_way_to_the_database_pauses_the_one_that_has_loaded_it():
    world = make_world(2)
    other = {"username": "mstr_collab", "password": "other"}
    world.machines["c1"].files["config"].content = make_config(dataSource=other)
    assert view(world, "c1").is_healthy, "it runs with what it has loaded"
    world.restart("c1")
    assert view(world, "c1").lacks_database
    assert view(world, "c2").is_healthy


@pytest.mark.parametrize("choice", RedisLoss)
def test_a_restart_of_redis_is_felt_by_all(choice):
    world = make_world(2, choices=Choices(start_readings=0, paused_readings=1, redis_loss=choice))
    for node in ("c1", "c2"):
        view(world, node)
        assert view(world, node).is_healthy
    world.restart("redis")
    shown = [view(world, node) for node in ("c1", "c2")]
    assert all(one is None or not one.is_healthy for one in shown)
    after = view(world, "c1")
    assert (after is not None and after.is_healthy) == (choice is RedisLoss.RESUME)


# --- Redis


def converse(session, *lines):
    """What the session answers to inline commands, one text each."""
    return [session.receive(f"{line}\r\n".encode()).decode() for line in lines]


def test_a_session_demands_the_password():
    world = make_world()
    assert converse(
        world.open_session("redis"), "PING", "AUTH wrong", "AUTH old", "PING", "CONFIG GET bind"
    ) == [
        "-NOAUTH Authentication required.\r\n",
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        "+OK\r\n",
        "+PONG\r\n",
        "*2\r\n$4\r\nbind\r\n$9\r\n127.0.0.1\r\n",
    ]


def test_a_changed_password_is_true_after_a_restart_only_if_it_was_written():
    world = make_world()
    session = world.open_session("redis")
    assert converse(session, "AUTH old", "ACL SETUSER default >new")[-1] == "+OK\r\n"
    assert converse(world.open_session("redis"), "AUTH new") == ["+OK\r\n"]
    world.restart("redis")
    assert converse(session, "PING") == [""]
    assert session.is_over
    session = world.open_session("redis")
    assert converse(session, "AUTH new")[0].startswith("-WRONGPASS")
    converse(session, "AUTH old", "ACL SETUSER default >new", "CONFIG REWRITE", "ACL SETUSER default <old")
    world.restart("redis")
    session = world.open_session("redis")
    assert converse(session, "AUTH old", "AUTH new") == ["+OK\r\n", "+OK\r\n"]
    converse(session, "ACL SETUSER default <old", "CONFIG REWRITE")
    world.restart("redis")
    session = world.open_session("redis")
    assert converse(session, "AUTH old")[0].startswith("-WRONGPASS")
    assert view(world, "c1").lacks_redis, "the servers still have the old one"


def test_a_rewrite_fails_without_room_and_leaves_the_file():
    world = make_world()
    file = world.machines["redis"].files["redis-conf"]
    file.is_full = True
    session = world.open_session("redis")
    assert converse(session, "AUTH old", "ACL SETUSER default >new", "CONFIG REWRITE")[-1].startswith("-ERR ")
    assert file.content == REDIS_FILE


def test_the_last_password_is_kept_in_plain_text_for_the_file():
    world = make_world()
    session = world.open_session("redis")
    converse(session, "AUTH old", "CONFIG SET requirepass third", "CONFIG REWRITE")
    written = world.machines["redis"].files["redis-conf"].content
    assert b'requirepass "third"' in written
    assert read_redis_file(written, "h").passwords == {hash_password("third")}
    assert converse(session, "CONFIG GET requirepass")[0].endswith("$5\r\nthird\r\n")


def test_a_client_from_elsewhere_is_denied_without_a_password():
    world = make_world(redis_file=b"bind 0.0.0.0\n")
    session = world.open_session("redis", "192.0.2.77")
    assert session.receive(b"PING\r\n").startswith(b"-DENIED ")
    assert session.is_over
    assert converse(world.open_session("redis"), "PING") == ["+PONG\r\n"]


def test_requests_may_end_anywhere():
    whole = b"*2\r\n$4\r\nAUTH\r\n$3\r\nold\r\n*1\r\n$4\r\nPING\r\nPING x\r\n"
    expected = b"+OK\r\n+PONG\r\n$1\r\nx\r\n"
    world = make_world()
    assert world.open_session("redis").receive(whole) == expected
    for cut in range(len(whole)):
        session = world.open_session("redis")
        assert session.receive(whole[:cut]) + session.receive(whole[cut:]) == expected
    session = world.open_session("redis")
    assert b"".join(session.receive(bytes([byte])) for byte in whole) == expected


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"*1\r\n", b"$4\r\nPING\r\n", b"AUTH old\r\n"])))
def test_no_bytes_break_a_session(parts):
    session = make_world(1).open_session("redis")
    for part in parts:
        answer = session.receive(part)
        assert not answer or answer[:1] in b"+-:$*%_"


def test_requests_are_bounded():
    session = make_world().open_session("redis")
    for _ in range(100):
        session.receive(b"x" * 10_000)
    assert session.is_over
    logged_in = make_world().open_session("redis")
    logged_in.receive(b"AUTH old\r\n")
    for _ in range(200):
        logged_in.receive(b"*1\r\n$400000000\r\n" + b"x" * 10_000)
    assert logged_in.is_over


@pytest.mark.parametrize("content", [b"{}", b'{"port": 1}', b'{\n  "a": {"b": 1}\n}\n\n'])
def test_a_person_may_add_a_key_to_a_config_json_any_number_of_times(content):
    once = edit_config(content)
    twice = edit_config(once)
    assert json.loads(twice).items() > json.loads(once).items() > json.loads(content).items()
    assert edit_config(b"{,}") == b"{,}"
    assert edit_config(b"[1]") == b"[1]"
