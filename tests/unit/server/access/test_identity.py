"""Roles and identities: what is granted, for which clusters, and how it reads in the history."""

import pytest

from reconciler.core.roles import EVERYTHING_ALLOWED, AccessRole, Grant
from reconciler.server.access.identity import SOMEBODY_LOCAL, Identity, LoginMethod


def kim(*grants, method=LoginMethod.OIDC):
    return Identity("kim", method, grants)


@pytest.mark.parametrize("granted", AccessRole)
@pytest.mark.parametrize("needed", AccessRole)
def test_a_role_allows_itself_and_looking_and_no_other_role(granted, needed):
    assert kim(Grant(granted)).allows(needed, "web") == (needed in {AccessRole.LOOK, granted})


@pytest.mark.parametrize(
    ("patterns", "cluster", "allowed"),
    [
        (("*",), "web", True),
        (("*",), "", True),
        (("web-*",), "web-1", True),
        (("web-*",), "Web-1", False),
        (("web-*",), "db", False),
        (("web-*",), "", False),
        (("**",), "", False),
        (("a", "b"), "b", True),
        (("web-?",), "web-12", False),
        ((), "web", False),
        ((), "", False),
    ],
)
def test_a_grant_is_for_the_clusters_that_it_names(patterns, cluster, allowed):
    assert kim(Grant(AccessRole.OPERATE, patterns)).allows(AccessRole.OPERATE, cluster) is allowed
    assert kim(Grant(AccessRole.OPERATE, patterns)).allows(AccessRole.LOOK, cluster) is allowed


def test_grants_are_not_mixed():
    both = kim(Grant(AccessRole.APPROVE, ("a",)), Grant(AccessRole.OPERATE, ("b",)))
    assert both.allows(AccessRole.APPROVE, "a")
    assert not both.allows(AccessRole.APPROVE, "b")
    assert not both.allows(AccessRole.OPERATE, "a")


def test_who_is_not_logged_in_may_only_look():
    assert [role for role in AccessRole if SOMEBODY_LOCAL.allows(role, "web")] == [AccessRole.LOOK]


def test_all_roles_are_granted_by_name():
    assert all(
        kim(*EVERYTHING_ALLOWED).allows(role, cluster) for role in AccessRole for cluster in ("", "web")
    )


@pytest.mark.parametrize("method", [one for one in LoginMethod if one is not LoginMethod.LOCAL])
def test_a_name_from_elsewhere_never_looks_like_a_user_of_this_machine(method):
    actor = kim(method=method).make_actor(host="ops-1", why="because")
    assert (actor.user, actor.host, actor.why) == (f"{method}:kim", "ops-1", "because")


def test_a_local_user_is_named_as_the_kernel_names_them():
    assert kim(method=LoginMethod.LOCAL).make_actor(host="ops-1").description == "kim on ops-1"
