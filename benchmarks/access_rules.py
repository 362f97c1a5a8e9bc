"""Who may look and act: what counts as local, which role permits what, and what each caller sees."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, Final

from starlette.requests import Request

from reconciler.core.memory import Suspension
from reconciler.core.roles import AccessRole, Grant
from reconciler.host.access_rules import AccessRules, RoleRule
from reconciler.ports.store import Approval, ApprovalRequest, OpenOrders, OrderRecord
from reconciler.server.access import arrival, login_target, role_table, visibility
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.arrival import PEER, Arrival, find_forwarding_header, is_within, judge_arrival
from reconciler.server.access.cookies import FORM, SESSION
from reconciler.server.access.identity import SOMEBODY_LOCAL, Identity, LoginMethod
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.access.role_table import RoleTable
from reconciler.server.access.secret_texts import make_csrf_text
from reconciler.server.access.visibility import select_visible_orders, select_visible_past_orders
from reconciler.server.acts.caller import Caller

LOOK, APPROVE, OPERATE = AccessRole
NOW: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)
PROXIES: Final = (ip_network("127.0.0.9/32"), ip_network("192.0.2.0/24"))
TEXT: Final = "s" * 43
OWN: Final = "http://127.0.0.1:8642"


def _ask(
    peer: str = "127.0.0.1", host: str | None = "127.0.0.1:8642", scheme: str = "http", **headers: str
) -> Request:
    lines = [] if host is None else [(b"host", host.encode())]
    lines += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "headers": lines, "scheme": scheme, "client": (peer, 1), PEER: peer}
    return Request(scope)


def _refusal(call: Callable[[], object]) -> int:
    """Status with which a call is refused; 0 if it is not."""
    return error.status if (error := _find_refusal(call)) else 0


def _find_refusal(call: Callable[[], object]) -> AccessRefused | None:
    try:
        call()
    except AccessRefused as error:
        return error
    return None


def local_requests() -> None:
    """Only what comes over loopback, for a name of this machine, and forwarded by nobody, is local."""

    def judge(*proxies: Any, **request: Any) -> Arrival | int:
        try:
            return judge_arrival(_ask(**request), proxies)
        except AccessRefused as error:
            return error.status

    for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        for host in ("127.0.0.1:8642", "localhost", "LOCALHOST.", "[::1]:1", "localhost:65535"):
            found = judge(peer=peer, host=host)
            assert isinstance(found, Arrival)
            assert (found.is_local, found.is_private, found.peer) == (True, True, peer)
            assert found.origin == f"http://{host.lower()}"
    for host in (None, "", "a b", "localhost:0", "localhost:65536", "[::1", "localhost:1:2"):
        assert judge(host=host) == 400, host
    for host in ("evil.example", "127.0.0.1.evil.example", "0.0.0.0", "192.0.2.1"):
        assert judge(host=host) == 403, host
    assert judge(x_forwarded_for="1.2.3.4") == judge(cf_ray="1") == 403
    elsewhere = {
        ("198.51.100.1", "http", ""): False,
        ("198.51.100.1", "https", ""): True,
        ("192.0.2.7", "http", ""): False,
        ("127.0.0.9", "http", ""): True,
        ("127.0.0.9", "http", "1.2.3.4"): False,
        ("127.0.0.9", "https", "1.2.3.4"): True,
    }
    for (peer, scheme, forwarded), is_private in elsewhere.items():
        headers = {"x_forwarded_for": forwarded} if forwarded else {}
        found = judge(*PROXIES, peer=peer, scheme=scheme, **headers)
        assert isinstance(found, Arrival)
        assert (found.is_local, found.is_private) == (False, is_private), (peer, scheme, forwarded)
    found = judge(*PROXIES, peer="127.0.0.9", host="fleet.example.com")
    assert isinstance(found, Arrival)
    assert not found.is_private
    for scope, expected in (
        ({"client": ("203.0.113.5", 1), PEER: "192.0.2.7"}, ("192.0.2.7", "203.0.113.5")),
        ({"client": ("203.0.113.5", 1)}, ("203.0.113.5", "203.0.113.5")),
        ({"client": None, PEER: "unix"}, ("unix", "")),
    ):
        found = judge_arrival(Request({"type": "http", "headers": [(b"host", b"a")], **scope}), PROXIES)
        assert (found.peer, found.caller, found.is_local) == (*expected, False)
    assert find_forwarding_header(["host", "x_real_ip", "via"]) == "x_real_ip"
    assert find_forwarding_header(["host", "cookie"]) == ""
    assert [is_within(one, PROXIES) for one in ("192.0.2.1", "::ffff:192.0.2.1", "10.0.0.1", "x")] == [
        True,
        True,
        False,
        False,
    ]


LOCAL: Final = (judge_arrival, find_forwarding_header, is_within, arrival._unmap, arrival._read_host)


def permitted_acts() -> None:
    """A role permits itself and looking, for its clusters alone; nobody has what no rule gives."""
    assert Grant(OPERATE).allows(OPERATE, "web-1")
    assert Grant(OPERATE).allows(LOOK)
    assert not Grant(OPERATE).allows(APPROVE, "web-1")
    assert not Grant(LOOK).allows(OPERATE)
    some = Grant(APPROVE, ("web-*", "db"))
    for cluster, is_allowed in (("web-1", True), ("db", True), ("dbx", False), ("WEB-1", False), ("", False)):
        assert some.allows(APPROVE, cluster) is some.allows(LOOK, cluster) is is_allowed, cluster
    assert not Grant(LOOK, ()).allows(LOOK)

    rules = (
        RoleRule(role="look", users=("kim",)),
        RoleRule(role="operate", groups=("ops",), clusters=("web-*",), login=("oidc",)),
        RoleRule(role="approve", users=("root",), login=("local",)),
    )
    table = RoleTable(rules, frozenset({"root"}), frozenset({"adm"}))
    roles: Mapping[tuple[str, LoginMethod, tuple[str, ...]], set[str]] = {
        ("kim", LoginMethod.OIDC, ()): {"look"},
        ("kim", LoginMethod.OIDC, ("ops",)): {"look", "operate"},
        ("lee", LoginMethod.OIDC, ("ops", "x")): {"operate"},
        ("lee", LoginMethod.PROXY, ("ops",)): set(),
        ("lee", LoginMethod.LOCAL, ("ops",)): set(),
        ("lee", LoginMethod.OIDC, ("adm",)): set(),
        ("lee", LoginMethod.LOCAL, ("adm",)): {"look", "approve", "operate"},
        ("kim", LoginMethod.LOCAL, ("adm",)): {"look", "approve", "operate"},
        ("root", LoginMethod.LOCAL, ()): {"look", "approve", "operate"},
        ("root", LoginMethod.OIDC, ()): set(),
    }
    for (name, method, groups), expected in roles.items():
        found = table.identify(name, method, groups)
        assert {one.role.value for one in found.grants} == expected, (name, method, groups)
        assert (found.name, found.method, found.may_look) == (name, method, bool(expected))
    (grant,) = table.identify("lee", LoginMethod.OIDC, ("ops",)).grants
    assert grant.clusters == ("web-*",)

    one = Caller(
        Identity(
            "kim",
            LoginMethod.TOKEN,
            (Grant(LOOK, ("web-9",)), Grant(OPERATE, ("web-1",)), Grant(APPROVE, ())),
        ),
        Identity("", LoginMethod.NONE).make_actor(),
    )
    nobody = Caller(SOMEBODY_LOCAL, one.actor)
    calls = (
        (lambda: one.require(OPERATE, "web-1"), 0),
        (lambda: one.require_to_operate("web-1"), 0),
        (lambda: one.require_to_operate("web-2"), 403),
        (lambda: one.require_to_operate(""), 403),
        (lambda: one.require(APPROVE, "web-1"), 403),
        (lambda: one.require_somewhere(OPERATE), 0),
        (lambda: one.require_somewhere(LOOK), 0),
        (lambda: one.require_somewhere(APPROVE), 403),
        (lambda: nobody.require_somewhere(LOOK), 401),
        (lambda: nobody.require(OPERATE, "web-1"), 401),
        (lambda: nobody.require(LOOK), 0),
    )
    for number, (call, status) in enumerate(calls):
        assert _refusal(call) == status, number
    for cluster, scope in (("web-2", "for cluster web-2"), ("", "for all clusters")):
        error = _find_refusal(partial(one.require, OPERATE, cluster))
        assert error is not None
        assert error.message.endswith(scope)


PERMITTED: Final = (
    Grant.allows,
    Identity.allows,
    Identity.may_look,
    RoleTable.identify,
    role_table._fits,
    Caller.require,
    Caller.require_somewhere,
    Caller.require_to_operate,
)


def foreign_pages() -> None:
    """A change needs the origin of this server and the token of the session; a login leads nowhere else."""
    access = AccessControl()
    session = Identity("kim", LoginMethod.OIDC, (Grant(OPERATE),))
    good = {"origin": OWN, "sec_fetch_site": "same-origin", "cookie": f"{SESSION}={TEXT}"}
    csrf = make_csrf_text(TEXT)

    def send(identity: Identity = session, given: str = csrf, **headers: str) -> int:
        request = _ask(**{name: value for name, value in (good | headers).items() if value})
        return _refusal(lambda: access.refuse_foreign_page(request, identity, given))

    proxied, token = Identity("kim", LoginMethod.PROXY), Identity("ci", LoginMethod.TOKEN)
    form, other = make_csrf_text("f" * 43), f"{SESSION}={TEXT}; {FORM}={'f' * 43}"
    assert [send(), send(sec_fetch_site=""), send(given="", x_csrf_token=csrf), send(origin=OWN.upper())] == [
        0
    ] * 4
    assert (
        send(token, "", origin="https://evil.example", sec_fetch_site="")
        == send(proxied, form, cookie=other)
        == 0
    )
    assert (
        send(proxied, csrf, cookie=other)
        == send(proxied, "", cookie=other)
        == send(given=form, cookie=other)
        == 403
    )
    for headers in (
        {"origin": ""},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9"},
        {"origin": "http://localhost:8642"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "none"},
    ):
        assert send(**headers) == send(proxied, form, cookie=other, **headers) == 403, headers
    for given in ("", "x", csrf[:-1], make_csrf_text("t" * 43)):
        assert send(given=given) == 403, given
    assert send(cookie="") == send(given="", cookie="") == send(given="", cookie=f"{SESSION}=x") == 403
    assert send(given="", x_csrf_token="x") == 403
    assert access.make_csrf_token(_ask(cookie=f"{SESSION}={TEXT}"), session) == csrf
    assert access.make_csrf_token(_ask(cookie=f"{SESSION}=x"), session) == ""
    assert access.make_csrf_token(_ask(cookie=f"{SESSION}={TEXT}"), SOMEBODY_LOCAL) == ""
    assert access.make_csrf_token(_ask(), proxied, "f" * 43) == form
    assert len(access.make_form_text(_ask(cookie=f"{FORM}=x"), proxied)) == len(TEXT)
    assert access.make_form_text(_ask(cookie=other), proxied) == access.make_form_text(_ask(), session) == ""
    oidc: Any = SimpleNamespace(redirect="https://fleet.example.com")
    access.rules = AccessRules.model_construct(oidc=oidc, proxy=None)
    assert send(origin="https://fleet.example.com") == send() == 0

    for place in ("/", "/clusters/a?page=2", "/loginx", "/a//b"):
        assert login_target.read_next_page(place) == place
    for place in (
        None,
        "",
        "x",
        "//evil.example",
        "/\\evil",
        "/\t/evil",
        "https://evil",
        "/login",
        "/logout?x",
    ):
        assert login_target.read_next_page(place) == "/", place


PAGES: Final = (
    AccessControl.refuse_foreign_page,
    AccessControl.make_csrf_token,
    AccessControl.make_form_text,
    login_target.read_next_page,
)


def visible_records() -> None:
    """Whoever may look at some clusters sees their orders, and what binds all clusters; nothing of others."""
    some = Identity("kim", LoginMethod.OIDC, (Grant(LOOK, ("web",)),))
    everything = Identity("kim", LoginMethod.OIDC, (Grant(LOOK),))
    names = ("", "web", "db")
    held: Any = [SimpleNamespace(cluster=name) for name in names]
    found = OpenOrders(
        suspensions=tuple(Suspension(name, "why", "kim", NOW) for name in names),
        rejections=tuple(held),
        requests=tuple(ApprovalRequest(name, "ab", "s", "1 step", NOW) for name in names),
        approvals=(Approval("ab", NOW, "kim", ""),),
        holds=tuple(held),
        pins=tuple(held),
    )
    assert select_visible_orders(found, everything) is found
    shown = select_visible_orders(found, some)
    assert [one.cluster for one in shown.suspensions] == ["", "web"]
    for kind in (shown.rejections, shown.requests, shown.holds, shown.pins):
        assert [one.cluster for one in kind] == ["web"]
    assert shown.approvals == ()

    actor = some.make_actor()
    orders = [
        OrderRecord(kind, name, "", NOW, actor)
        for kind in ("suspend", "resume", "token", "approve")
        for name in names
    ]
    assert list(select_visible_past_orders(orders, everything)) == orders
    assert [(one.kind, one.cluster) for one in select_visible_past_orders(orders, some)] == [
        ("suspend", ""),
        ("suspend", "web"),
        ("resume", ""),
        ("resume", "web"),
        ("token", "web"),
        ("approve", "web"),
    ]


VISIBLE: Final = (visibility.sees_everything, select_visible_orders, select_visible_past_orders)
