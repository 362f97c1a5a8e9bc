"""The state machine of a collab cluster: what pauses a server, who is let in, and what a file does."""

import json
from contextlib import suppress
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers.collab import machine
from reconciler.drivers.collab.choices import Choices, NeedlessPassword, RedisLoss, ServiceOrder
from reconciler.drivers.collab.cluster_state import (
    BalancerConfiguration,
    CollabState,
    RedisConfiguration,
    ServerConfiguration,
    ServerState,
    accepts_address,
    hash_password,
    is_paused,
    is_serving,
    list_locked_out,
    list_serving,
)
from reconciler.drivers.collab.simulator.loaded_files import (
    InvalidFile,
    read_redis_file,
    read_server_file,
    rewrite_redis_file,
    split_words,
)
from reconciler.drivers.collab.simulator.nginx_file import read_nginx_file

OLD, NEW = hash_password("old"), hash_password("new")
AT_ONCE = Choices(start_readings=0, paused_readings=0)
SERVER = ServerConfiguration(redis="192.0.2.9:6379", password=OLD)
REDIS = RedisConfiguration("192.0.2.9:6379", frozenset({OLD}), needs_password=True, required=OLD)


def running(count=2, choices=AT_ONCE, redis=REDIS, server=SERVER):
    """A cluster whose servers all run."""
    state = CollabState((ServerState(),) * count, tuple(f"192.0.2.{one}:3000" for one in range(count)))
    state = machine.start_redis(state, redis, choices)
    for number in range(count):
        state = machine.start_server(state, number, server, choices)
    return state


def test_a_server_comes_up_by_readings_paused_first():
    choices = Choices(start_readings=2, paused_readings=1)
    state = running(1, choices)
    shown = []
    for _ in range(4):
        shown.append((state.servers[0].starting > 0, is_paused(state, 0), is_serving(state, 0)))
        state = machine.pass_reading(state, 0)
    assert shown == [(True, True, False), (True, True, False), (False, True, False), (False, False, True)]
    assert list_serving(machine.finish_waiting(running(2, choices))) == (0, 1)


def test_each_missing_service_pauses_and_is_listed_in_the_order_of_the_option():
    state = machine.fail_database(machine.stop_redis(running(), AT_ONCE))
    assert machine.list_missing_services(state, 0) == ("DB Service", "Redis Server")
    reversed_order = Choices(service_order=ServiceOrder.REDIS_FIRST)
    assert machine.describe_state(state, 0, reversed_order) == (
        "paused",
        "The following dependent services are unavailable: Redis Server, DB Service",
    )
    assert list_serving(state) == ()
    back = machine.return_database(machine.start_redis(state, REDIS, AT_ONCE), AT_ONCE)
    assert list_serving(back) == (0, 1)


def test_a_way_to_another_database_pauses_only_that_server():
    state = machine.restart_server(running(), 0, SERVER._replace(database="elsewhere"), AT_ONCE)
    assert list_serving(state) == (1,)
    assert machine.list_missing_services(state, 0) == ("DB Service",)


def test_a_server_alone_needs_no_redis():
    state = machine.stop_redis(running(server=SERVER._replace(scaling="none")), AT_ONCE)
    assert list_serving(state) == (0, 1)


@pytest.mark.parametrize(
    ("loss", "serving", "up"),
    [(RedisLoss.RESUME, (0, 1), 2), (RedisLoss.STAY_PAUSED, (), 2), (RedisLoss.EXIT, (), 0)],
)
def test_after_a_restart_of_redis_servers_do_what_the_option_says(loss, serving, up):
    choices = Choices(start_readings=0, paused_readings=0, redis_loss=loss)
    state = machine.restart_redis(running(choices=choices), REDIS, choices)
    assert list_serving(state) == serving
    assert sum(server.running is not None for server in state.servers) == up
    again = machine.restart_server(state, 0, SERVER, choices)
    assert list_serving(again) == serving or list_serving(again) == (0,)


def test_open_connections_outlive_a_dropped_password_and_a_restart_does_not():
    state = running()
    both = machine.change_redis(state, machine.add_password(REDIS, NEW), AT_ONCE)
    assert list(list_locked_out(both)) == []
    dropped = machine.change_redis(both, machine.drop_password(both.redis.running, OLD), AT_ONCE)
    assert list_serving(dropped) == (0, 1), "they are connected"
    assert list(list_locked_out(dropped)) == [0, 1], "and could not connect again"
    assert list_serving(machine.restart_redis(dropped, dropped.redis.running, AT_ONCE)) == ()
    assert list_serving(machine.restart_server(dropped, 0, SERVER, AT_ONCE)) == (1,)


def test_a_first_password_ends_the_time_without_one():
    free = RedisConfiguration("192.0.2.9:6379", is_protected=False)
    bare = SERVER._replace(password="")
    state = running(redis=free, server=bare)
    assert list(list_locked_out(state)) == []
    state = machine.change_redis(state, machine.add_password(free, NEW), AT_ONCE)
    assert list(list_locked_out(state)) == [0, 1]


@pytest.mark.parametrize("choice", NeedlessPassword)
def test_a_password_that_redis_does_not_demand_harms_only_by_the_option(choice):
    choices = Choices(start_readings=0, paused_readings=0, needless_password=choice)
    free = RedisConfiguration("192.0.2.9:6379", is_protected=False)
    state = running(choices=choices, redis=free)
    assert list_serving(state) == ((0, 1) if choice is NeedlessPassword.ACCEPT else ())


@pytest.mark.parametrize(
    ("bind", "host", "accepted"),
    [
        ((), "192.0.2.9", True),
        (("127.0.0.1", "-::1"), "192.0.2.9", False),
        (("127.0.0.1", "-::1"), "127.0.0.1", True),
        (("127.0.0.1", "-::1"), "redis-1", False),
        (("127.0.0.1", "192.0.2.9"), "192.0.2.9", True),
        (("127.0.0.1", "192.0.2.9"), "redis-1", True),
        (("127.0.0.1", "192.0.2.8"), "192.0.2.9", False),
        (("0.0.0.0",), "192.0.2.9", True),
    ],
)
def test_redis_listens_where_its_file_says(bind, host, accepted):
    assert accepts_address(REDIS._replace(bind=bind), host) is accepted


def test_protected_mode_refuses_other_hosts_without_a_password():
    free = RedisConfiguration(bind=("0.0.0.0",))
    assert not accepts_address(free, "192.0.2.9")
    assert accepts_address(free, "127.0.0.1")
    assert accepts_address(free._replace(is_protected=False), "192.0.2.9")


def test_an_invalid_file_keeps_a_server_down_and_nginx_as_it_is():
    state = machine.restart_server(running(), 0, None, AT_ONCE)
    assert list_serving(state) == (1,)
    former = BalancerConfiguration(("192.0.2.0:3000",))
    state = machine.start_balancer(state, former)
    assert machine.reload_balancer(state, None).balancer.running == former


def test_clients_leave_only_a_server_that_gets_no_new_ones():
    state = running()
    state = state.replace_server(0, state.servers[0]._replace(connections=2))
    balanced = machine.start_balancer(state, BalancerConfiguration(state.addresses))
    assert machine.pass_reading(balanced, 0).servers[0].connections == 2
    alone = machine.reload_balancer(balanced, BalancerConfiguration(state.addresses[1:]))
    assert machine.pass_reading(alone, 0).servers[0].connections == 1


CALLS = {
    "restart 0": lambda state, choices: machine.restart_server(state, 0, SERVER, choices),
    "restart 1 new": lambda state, choices: machine.restart_server(
        state, 1, SERVER._replace(password=NEW), choices
    ),
    "stop 1": lambda state, choices: machine.stop_server(state, 1),
    "start 1": lambda state, choices: machine.start_server(state, 1, SERVER, choices),
    "restart redis": lambda state, choices: machine.restart_redis(state, REDIS, choices),
    "stop redis": machine.stop_redis,
    "add": lambda state, choices: machine.change_redis(state, machine.add_password(REDIS, NEW), choices),
    "drop": lambda state, choices: machine.change_redis(state, machine.drop_password(REDIS, OLD), choices),
    "no database": lambda state, choices: machine.fail_database(state),
    "database": machine.return_database,
    "read 0": lambda state, choices: machine.pass_reading(state, 0),
    "wait": lambda state, choices: machine.finish_waiting(state),
}

OPTIONS = [
    Choices(start_readings=starting, paused_readings=pausing, redis_loss=loss, needless_password=needless)
    for starting, pausing, loss, needless in product((0, 1), (0, 2), RedisLoss, NeedlessPassword)
]


@given(st.lists(st.sampled_from(sorted(CALLS)), max_size=30), st.sampled_from(OPTIONS))
def test_a_server_serves_only_if_nothing_is_missing_whatever_happens(calls, choices):
    state = running(2, choices)
    for call in calls:
        state = CALLS[call](state, choices)
        hash(state)
        for number in range(2):
            word, reason = machine.describe_state(state, number, choices)
            missing = machine.list_missing_services(state, number)
            if missing:
                assert not is_serving(state, number)
                assert all(name in reason for name in missing)
            assert (word == "paused") == is_paused(state, number)
            if state.redis.running is None:
                assert not state.servers[number].has_session


# --- files


def config(**values):
    return json.dumps(
        {"port": 3000, "scaling": "horizontal", "redisServerUrl": "redis://:old@192.0.2.9:6379", **values}
    ).encode()


def test_a_server_reads_the_documented_keys():
    read = read_server_file(config(enableTls=True, more={"a": 1}))
    assert (read.redis, read.password, read.port, read.enable_tls) == ("192.0.2.9:6379", OLD, 3000, True)
    assert read_server_file(config(redisServerUrl="redis://h")).redis == "h:6379"
    assert read_server_file(config(redisServerUrl="redis://:o%6Cd@h:1")).password == OLD
    other = read_server_file(config(dataSource={"username": "a", "password": "b"}))
    assert other.database != read.database


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"[]",
        b'{"port":3000, .......}',
        config(port="3000"),
        config(port=True),
        config(scaling="sideways"),
        config(redisServerUrl=""),
        config(redisServerUrl="http://h"),
        config(redisServerUrl="redis://h:port"),
        config(dataSource=[]),
    ],
)
def test_a_server_does_not_start_with_anything_else(content):
    with pytest.raises(InvalidFile):
        read_server_file(content)


def test_the_line_of_the_default_user_outweighs_requirepass():
    read = read_redis_file(b'# x\nport 7000\nbind 127.0.0.1 ::1\nrequirepass "old"\n', "h")
    assert (read.address, read.passwords, read.needs_password) == ("h:7000", frozenset({OLD}), True)
    later = read_redis_file(f"requirepass old\nuser default on #{NEW} ~* &* +@all\n".encode(), "h")
    assert later.passwords == {NEW}
    assert not read_redis_file(b"requirepass old\nuser default on nopass ~* +@all\n", "h").needs_password


@pytest.mark.parametrize(
    "content", [None, b"requirepass\n", b'bind "127.0.0.1\n', b"port x\n", b"user default what\n", b"<xml>\n"]
)
def test_redis_does_not_start_with_an_invalid_file(content):
    with pytest.raises(InvalidFile):
        read_redis_file(content, "h")


def test_words_are_split_as_redis_splits_them():
    assert split_words(r'a "b \"c\x41" ' + "'d'") == ["a", 'b "cA', "d"]
    assert split_words('a "b"c') is None
    assert split_words("a 'b") is None


def test_a_rewrite_keeps_comments_and_is_read_back_as_what_runs():
    content = b'# people\nbind 127.0.0.1\nrequirepass old\n\nsave ""\n'
    redis = machine.add_password(read_redis_file(content, "h"), NEW)
    written = rewrite_redis_file(content, redis, {})
    assert b"# people\n" in written
    assert b'requirepass "old"\n' in written
    again = read_redis_file(written, "h")
    assert (again.passwords, again.needs_password) == ({OLD, NEW}, True)
    assert rewrite_redis_file(written, redis, {}) == written
    third = machine.require_password(redis, hash_password("third"))
    assert b'requirepass "third"' in rewrite_redis_file(written, third, {hash_password("third"): "third"})


LOCATIONS = """
    location /socket.io/ {
      proxy_http_version 1.1;  # upgrade
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_pass http://collabServer/socket.io/;
    }
    location /status { proxy_pass http://collabServer/status; }
"""
UPSTREAM = "upstream collabServer { ip_hash; server a:3000; server b:3000 weight=2; server c down; }"


def nginx(upstream=UPSTREAM, locations=LOCATIONS, before="events { }"):
    text = f"{before} http {{ {upstream} server {{ listen 80; {locations} }} }}"
    return text.encode()


def test_nginx_loads_the_upstream_and_the_locations():
    loaded = read_nginx_file(nginx(), "collabServer")
    assert loaded.servers == ("a:3000", "b:3000")
    assert loaded.is_sticky
    assert loaded.has_handshake
    assert loaded.has_status
    included = f"{UPSTREAM} server {{ {LOCATIONS} }}".encode()
    assert read_nginx_file(included, "collabServer")[:4] == loaded[:4]


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"\xff",
        nginx(before=""),
        nginx(upstream=UPSTREAM + UPSTREAM),
        nginx(upstream="upstream collabServer { ip_hash; }"),
        nginx(upstream="upstream collabServer { ip_hash; ip_hash; server a; }"),
        nginx(upstream="upstream other { server a; }"),
        nginx(upstream=UPSTREAM + LOCATIONS),
        nginx(locations=LOCATIONS + LOCATIONS),
        nginx(upstream=UPSTREAM + "ip_hash;"),
        nginx(upstream=UPSTREAM + "location / { }"),
        nginx()[:-1],
        nginx() + b"}",
        nginx().replace(b"1.1;", b"1.1"),
        nginx().replace(b"ip_hash;", b"ip_hash { }"),
        nginx().replace(b'"upgrade"', b'"upgrade'),
        b"events {} " + b"http {" * 30 + b"}" * 30,
        b"......\n" + nginx() + b"\n......",
    ],
)
def test_nginx_refuses_an_invalid_file(content):
    with pytest.raises(InvalidFile):
        read_nginx_file(content, "collabServer")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("$http_upgrade", "$other"),
        ('"upgrade"', "close"),
        ("proxy_http_version 1.1;", ""),
        ("collabServer/socket.io/", "collabServer/"),
    ],
)
def test_a_handshake_needs_each_directive(before, after):
    loaded = read_nginx_file(nginx(locations=LOCATIONS.replace(before, after)), "collabServer")
    assert not loaded.has_handshake
    assert loaded.has_status


@given(st.text(alphabet="{};#\"'\\ \n$abserver", max_size=60))
def test_no_text_breaks_the_reader_of_nginx(text):
    with suppress(InvalidFile):
        read_nginx_file(text.encode(), "collabServer")
