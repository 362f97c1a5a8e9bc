"""Messages about a config.json never show the secrets in it."""

import pytest
from support.collab_runs import make_entry, make_input, with_password

from reconciler.core.secret import Secret
from reconciler.drivers.collab.product import DRIVER
from reconciler.errors import InputError


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
