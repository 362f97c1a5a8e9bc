"""A state in a database: how it is named, shown, and told from a folder."""

import json

import pytest

from reconciler.cli.state_folder import find_state
from reconciler.errors import UsageError
from reconciler.host.config import HostConfig
from reconciler.host.config_database import digest_plan_rules
from reconciler.host.control_socket import RunningWatch
from reconciler.host.environment import Environment
from reconciler.host.host import Host

URL = "postgresql://app@db/x"


def host(variables=None, **config):
    return Host(HostConfig.model_validate(config), Environment(variables or {}))


def test_the_option_comes_before_the_variable_and_that_before_the_configuration(tmp_path):
    config = {"database": {"url": "postgresql://configured/x"}, "state": str(tmp_path)}
    assert find_state(host(**config), None).place == "postgresql://configured/x"
    assert find_state(host({"RECONCILE_STATE": URL}, **config), None).place == URL
    assert find_state(host({"RECONCILE_STATE": URL}, **config), "/srv/state").place == "/srv/state"
    assert find_state(host({"RECONCILE_STATE": "/srv/state"}, **config), None).place == "/srv/state"
    found = find_state(host({"RECONCILE_STATE": ""}, **config), URL + "?sslmode=require")
    assert str(found) == "postgresql://app@db/x (--state)"
    assert (found.path, found.database.key) == (tmp_path, tmp_path / "host.key")


def test_the_files_of_a_database_are_those_of_the_configuration(tmp_path):
    own = {"url": URL, "password": "$CREDENTIALS_DIRECTORY/database", "key": str(tmp_path / "key")}
    found = find_state(host({"CREDENTIALS_DIRECTORY": "/run/c", "PGPASSFILE": "/p"}, database=own), None)
    assert str(found.database.address.password) == "/run/c/database"
    assert found.database.key == tmp_path / "key"
    assert found.database.address.variables == {"PGPASSFILE": "/p"}
    with pytest.raises(UsageError, match="the service has no credentials folder") as caught:
        find_state(host(database=own), None)
    assert "LoadCredential=database:PATH" in caught.value.remedy


@pytest.mark.parametrize("given", ["postgresql://app:hunter2@db/x", "postgres://db/x?password=hunter2"])
def test_a_password_in_it_is_refused_and_not_shown(given):
    with pytest.raises(UsageError, match="contains a password") as caught:
        find_state(host(), given)
    assert "hunter2" not in f"{caught.value}{caught.value.remedy}"
    with pytest.raises(ValueError, match="contains a password") as refused:
        HostConfig.model_validate({"database": {"url": given}})
    assert "hunter2" not in json.dumps(
        refused.value.errors(include_input=False, include_url=False), default=str
    )


def test_a_watch_uses_a_database_or_a_folder(tmp_path):
    watch = RunningWatch(tmp_path, 1, "source", URL)
    assert watch.uses(URL)
    assert not watch.uses(str(tmp_path))
    assert not RunningWatch(tmp_path, 1, "source", str(tmp_path)).uses(URL)


def test_hosts_agree_on_what_a_plan_depends_on_alone():
    ssh = {"user": "r", "keys": ["/etc/a"], "known_hosts": "/etc/known"}
    mine = {"state": "/a", "networks": ["192.0.2.0/24"], "ssh": {"w": ssh}, "nodes": {"listen": "0.0.0.0:1"}}
    theirs = {"state": "/b", "networks": ["192.0.2.0/24"], "ssh": {"w": {**ssh, "keys": ["/etc/b"]}}}
    assert digest_plan_rules(host(**mine).config) == digest_plan_rules(host(**theirs).config)
    for change in ({"networks": []}, {"ssh": {"w": {**ssh, "user": "s"}}}, {"authorities": {"o": "/etc/ca"}}):
        other = digest_plan_rules(host(**{**theirs, **change}).config)
        assert other != digest_plan_rules(host(**mine).config)
