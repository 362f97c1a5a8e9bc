"""Messages and plans about a config.json never show the secrets in it, and say which ones are not known."""

import json

import pytest
from support.collab_runs import Site, make_entry, make_input, make_site, with_password

from reconciler.core.secret import Secret
from reconciler.drivers.collab.product import DRIVER
from reconciler.errors import InputError
from reconciler.file_delivery.json_keys import JsonKeys


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"redisServerUrl": Secret("wrong hunter2", "${env:P}")},
        {"authorizationServerUrl": Secret("not a URL hunter2", "${env:P}")},
        {"scaling": Secret("hunter2", "${env:P}")},
    ],
)
def test_an_invalid_value_with_a_secret_is_not_shown(change):
    config, redis = with_password("hunter2 with blanks")
    with pytest.raises(InputError) as raised:
        DRIVER.desire(make_input(make_entry(), config | change, redis))
    shown = "\n".join(f"{one.message} {one.remedy}" for one in raised.value.problems)
    assert "redisServerUrl" in shown
    assert "hunter2" not in shown


def test_a_secret_that_is_not_known_here_is_reported_although_nothing_else_differs():
    config, redis = with_password("hunter2")
    site = Site(make_site(2), make_input(make_entry(approve=None), config, redis))
    site.converge()
    why = "the environment variable P is not set"
    config["redisServerUrl"] = Secret("${env:P}", "redis://:${env:P}@127.0.0.1:6379", why)
    redis["requirepass"] = Secret("${env:P}", "${env:P}", why)
    site.cluster_input = make_input(make_entry(), config, redis)
    plan = site.plan()
    assert plan.steps == ()
    [found] = [one for one in plan.findings if one.code == "secret-unavailable"]
    assert found.message == (
        "${env:P} of the file config, ${env:P} of the file redis-conf: not compared, because the secret is "
        f"not available here: {why}"
    )


def test_a_password_in_plain_text_in_an_address_is_masked_on_both_sides():
    keys = JsonKeys({"redisServerUrl": "redis://:geheim-1@r:6379", "port": 1})
    for current in ("redis://:geheim-2@r:6379", "redis://r:6379", "redis://:geheim-1@r:6379"):
        changes = keys.find_changes(json.dumps({"redisServerUrl": current, "port": 2}).encode(), "config")
        is_equal = "geheim-1" in current
        assert [one.pointer for one in changes] == ["/config/port", *["/config/redisServerUrl"][is_equal:]]
        assert "geheim" not in repr(changes)
