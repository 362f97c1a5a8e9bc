"""Who gets a notice: by event, cluster and severity, each address once."""

import pytest
from pydantic import ValidationError
from support.driver import NOON

from reconciler.core.alerts import AlertEvent, AlertSeverity, Notice
from reconciler.host.notification_rules import NotificationRules
from reconciler.notifications.routing import list_addresses, make_router

RECIPIENTS = {
    "ops": {"addresses": ["/etc/a", "$RECONCILE_NOTIFY_B"]},
    "boss": {"addresses": ["$CREDENTIALS_DIRECTORY/c"]},
}
OPS, BOSS = ["ops /etc/a", "ops $RECONCILE_NOTIFY_B"], ["boss $CREDENTIALS_DIRECTORY/c"]


def route(*rules, event=AlertEvent.DRIFT, severity=AlertSeverity.WARNING, cluster="prod-1"):
    config = NotificationRules.model_validate({"recipients": RECIPIENTS, "rules": list(rules)})
    return make_router(config)(Notice(event, severity, "", NOON, cluster))


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({}, True), ({"events": ["drift"]}, True), ({"events": ["expiry", "suspended"]}, False),
        ({"clusters": ["prod-*"]}, True), ({"clusters": ["lab", "test-*"]}, False),
        ({"severity": "warning"}, True), ({"severity": "error"}, False),
        ({"events": ["drift"], "clusters": ["lab"]}, False),
    ],
)  # fmt: skip
def test_each_condition_of_a_rule_must_fit(rule, told):
    assert route({"recipients": ["ops"], **rule}) == (OPS if told else [])


def test_what_is_about_no_cluster_is_told_whatever_the_clusters():
    assert route({"recipients": ["boss"], "clusters": ["lab"]}, cluster="") == BOSS


def test_a_recipient_of_two_rules_is_told_once():
    assert route({"recipients": ["ops", "boss"]}, {"recipients": ["ops"]}) == [*OPS, *BOSS]


def test_nobody_is_told_without_a_rule():
    assert route() == []


def test_addresses_of_one_recipient():
    config = NotificationRules.model_validate({"recipients": RECIPIENTS})
    assert list(list_addresses(config, "ops")) == OPS
    assert list(list_addresses(config)) == [*OPS, *BOSS]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": [{"recipients": ["nobody"]}]},
        {"rules": [{"recipients": []}]},
        {"recipients": {"a": {"addresses": ["slack://T/B/C"]}}},
        {"recipients": {"a": {"addresses": ["$HOME"]}}},
        {"recipients": {"a": {"addresses": ["$RECONCILE_SECRET_X"]}}},
        {"recipients": {"a": {"addresses": ["relative"]}}},
        {"recipients": {"a": {"addresses": ["/proc/1/environ"]}}},
        {"recipients": {"a": {"addresses": []}}},
        {
            "rules": [{"recipients": ["a"], "events": ["nonsense"]}],
            "recipients": {"a": {"addresses": ["/x"]}},
        },
        {"url": "javascript:alert(1)"},
        {"url": "https://user:word@host"},
    ],
)
def test_a_wrong_section_is_refused(wrong):
    with pytest.raises(ValidationError):
        NotificationRules.model_validate(wrong)
