"""What the host configuration lets users do."""

import pytest
from support.access import read_rules

from reconciler.core.roles import EVERYTHING_ALLOWED, AccessRole, Grant
from reconciler.server.access.identity import LoginMethod
from reconciler.server.access.role_table import RoleTable

RULES = """
  roles:
    - {role: look, users: [kim, root], clusters: [a]}
    - {role: approve, groups: [ops, web], clusters: [b]}
    - {role: look, groups: [ops], login: [local]}
"""
LOCAL, OIDC, PROXY = LoginMethod.LOCAL, LoginMethod.OIDC, LoginMethod.PROXY
LOOK, APPROVE = Grant(AccessRole.LOOK, ("a",)), Grant(AccessRole.APPROVE, ("b",))


@pytest.mark.parametrize(
    ("name", "method", "groups", "grants"),
    [
        ("kim", OIDC, [], (LOOK,)),
        ("kim", PROXY, [], (LOOK,)),
        ("kim", OIDC, ["web"], (LOOK, APPROVE)),
        ("Kim", OIDC, ["WEB"], ()),
        ("root", OIDC, [], (LOOK,)),
        ("watcher", PROXY, [], ()),
        ("kim", LOCAL, [], ()),
        ("root", LOCAL, [], EVERYTHING_ALLOWED),
        ("watcher", LOCAL, ["ops"], EVERYTHING_ALLOWED),
        ("lee", LOCAL, ["ops"], (Grant(AccessRole.LOOK),)),
        ("lee", LOCAL, ["staff"], EVERYTHING_ALLOWED),
        ("lee", LOCAL, ["ops", "staff"], (Grant(AccessRole.LOOK),)),
        ("lee", OIDC, ["staff"], ()),
    ],
)
def test_a_user_has_the_roles_of_all_entries_that_fit(name, method, groups, grants):
    table = RoleTable(read_rules(RULES).roles, frozenset({"root", "watcher"}), frozenset({"staff"}))
    assert table.identify(name, method, groups).grants == grants
