"""Keys of config.json and redis.conf that are committed no more."""

import json

import pytest
from support.collab_runs import (
    Faults,
    Killed,
    Site,
    make_config,
    make_entry,
    make_input,
    make_site,
    with_password,
)

NAMES = ("c1", "c2", "c3")
CONFIG = json.loads(make_config())
REDIS = {"bind": "127.0.0.1"}
TLS = {"enableTls": False, "trustedCerts": ["a.pem"]}


def make_wish(config=CONFIG, redis=REDIS):
    return make_input(make_entry(NAMES), config, redis)


def settled(config=CONFIG, redis=REDIS):
    """A cluster to which these keys were delivered."""
    site = Site(make_site(3), make_wish())
    site.converge()
    site.cluster_input = make_wish(config, redis)
    assert site.converge().steps == ()
    return site


def read_config(site, name="c1"):
    return json.loads(site.world.machines[name].files["config"].content)


def read_redis(site):
    return site.world.machines["redis"].files["redis-conf"].content.decode()


def notes(site):
    desired = site.desired
    plan = site.driver.plan(desired, site.observe(desired))
    return [one.message for one in plan.findings if one.code == "config-key-released"]


def test_a_key_that_a_run_has_added_leaves_with_its_line_in_the_commit():
    site = settled(CONFIG | TLS | {"own": {"a": 1, "b": {"c": 2}}})
    assert read_config(site)["own"] == {"a": 1, "b": {"c": 2}}
    site.cluster_input = make_wish(CONFIG | {"own": {"a": 1}})
    assert notes(site) == []
    restarted = [step.node for step in site.plan().steps if step.action == "restart-server"]
    assert restarted == ["c1", "c2", "c3"], "each of them uses the key"
    site.converge()
    assert site.plan().steps == ()
    for name in NAMES:
        assert read_config(site, name) == CONFIG | {"own": {"a": 1}}


def test_a_key_that_was_there_before_stays_and_is_named_once():
    site = settled()
    bare = {key: value for key, value in CONFIG.items() if key != "logging"}
    site.cluster_input = make_wish(bare)
    assert len(notes(site)) == 3
    assert notes(site)[0].startswith("logging in the file config of c1 stays as it was delivered")
    assert site.plan().steps == ()
    assert notes(site) == []
    assert read_config(site)["logging"] is True


def test_what_people_add_is_never_ours():
    site = settled(CONFIG | {"own": {"a": 1}})
    file = site.world.machines["c1"].files["config"]
    file.content = file.content.replace(b'"a": 1', b'"a": 1, "theirs": 2').replace(b"{", b'{"x": 0, ', 1)
    site.converge()
    site.cluster_input = make_wish()
    site.converge()
    assert site.plan().steps == ()
    assert read_config(site) == CONFIG | {"own": {"theirs": 2}, "x": 0}
    assert read_config(site, "c2") == CONFIG


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_kill_does_not_make_it_forget_what_is_to_leave(number, fault):
    site = settled(CONFIG | TLS)
    site.cluster_input = make_wish()
    site.faults = Faults({number: fault})
    with pytest.raises(Killed):
        site.run()
    site.faults = Faults()
    site.converge()
    assert site.plan().steps == ()
    assert all(read_config(site, name) == CONFIG for name in NAMES)


def test_a_key_that_changes_the_way_to_a_service_is_seen_when_it_leaves():
    site = settled(CONFIG | {"dataSource": CONFIG["dataSource"] | {"port": 5432}})
    site.cluster_input = make_wish()
    site.converge()
    assert site.plan().steps == ()
    assert "port" not in read_config(site)["dataSource"]


def test_keys_of_redis_conf_leave_by_a_restart():
    site = settled(redis=REDIS | {"tcp-keepalive": "77"})
    assert "tcp-keepalive 77" in read_redis(site)
    site.cluster_input = make_wish()
    assert [step.action for step in site.plan().steps][-1] == "restart-redis"
    site.converge()
    assert site.plan().steps == ()
    assert "tcp-keepalive" not in read_redis(site)


def test_a_password_never_leaves_by_itself():
    site = settled(*with_password("new"))
    site.cluster_input = make_wish(json.loads(make_config(password="new")))
    (note,) = notes(site)
    assert note == (
        "requirepass in the file redis-conf of redis stays as it was delivered: it is no longer committed, "
        "and a password is not removed by that"
    )
    assert site.plan().steps == ()
    assert "requirepass" in read_redis(site)
