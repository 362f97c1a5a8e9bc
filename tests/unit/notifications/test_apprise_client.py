"""Messages as the services get them, over real HTTP and SMTP; what failed is said without the address."""

import logging
import socket
import warnings
from email import message_from_bytes
from email.policy import default

import pytest
from aiosmtpd.controller import Controller
from apprise.plugins.slack import NotifySlack
from support.certificates import write_certificate
from support.notice_services import serve_notices

from reconciler.errors import UsageError
from reconciler.host.notification_rules import Recipient
from reconciler.notifications import apprise_client
from reconciler.notifications.apprise_client import read_address, send_by_apprise
from reconciler.notifications.message_text import NoticeMessage
from reconciler.notifications.routing import Address

MESSAGE = NoticeMessage("(error) edge: a node is stalled", "(error) edge: a node is stalled\n  n1: no answer")
TOKEN, HEADER = "pl4ntedt0ken", "pl4ntedheader"


class RootLog(logging.Handler):
    """What reaches the logger of the program, from which the watch writes its log."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record):
        self.text += f"{record.getMessage()}\n"


@pytest.fixture
def log():
    root, handler = logging.getLogger(), RootLog()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def service():
    with serve_notices() as service:
        yield service


def webhook(service, more=""):
    return f"json://127.0.0.1:{service.port}/{TOKEN}?+X-Token={HEADER}{more}"


def test_a_webhook_gets_subject_and_body(service):
    assert send_by_apprise(webhook(service), MESSAGE) == ""
    assert service.messages == [(MESSAGE.subject, MESSAGE.body)]


def test_slack_gets_a_message_in_its_documented_form(service, monkeypatch):
    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{service.port}/services")
    assert send_by_apprise("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7", MESSAGE) == ""
    ((path, request, status),) = service.calls
    assert (path, status) == ("/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7", 200)
    assert "a node is stalled" in str(request)


def test_teams_gets_a_card_in_its_documented_form(tmp_path):
    files = write_certificate(tmp_path, "127.0.0.1")
    with serve_notices((files["certificate"], files["key"])) as service, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of urllib3, about a certificate that signs itself
        url = f"workflows://127.0.0.1:{service.port}/{'a' * 32}/{'b' * 43}/?verify=no"
        assert send_by_apprise(url, MESSAGE) == ""
        ((_, request, status),) = service.calls
        assert status == 200
        assert "a node is stalled" in str(request)


class Inbox:
    def __init__(self):
        self.mails = []

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802  (the library's name)
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        return "250 accepted"


def test_mail_has_one_subject_and_text_without_markup():
    inbox = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mail = Controller(inbox, hostname="127.0.0.1", port=port)
    mail.start()
    try:
        url = f"mailto://127.0.0.1:{port}?from=watch@example.com&to=ops@example.com&mode=insecure"
        assert send_by_apprise(url, MESSAGE) == ""
    finally:
        mail.stop()
    (found,) = inbox.mails
    assert found["Subject"] == MESSAGE.subject
    assert found["To"] == "ops@example.com"
    assert "n1: no answer" in str(found.get_body(("plain", "html")).get_content())


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (500, "the service answered 500"),
        (429, "the service answered 429: too many messages"),
        (403, "the service answered 403, so that its login or token does not count"),
        (302, "the service answered 302"),
    ],
)
def test_a_refusal_is_named_by_its_status_alone(service, status, problem, log, capfd):
    service.statuses = [status]
    assert send_by_apprise(webhook(service), MESSAGE) == problem
    assert len(service.calls) == 1, "a redirect is not followed"
    shown = log.text + "".join(capfd.readouterr())
    assert TOKEN not in shown
    assert HEADER not in shown


def test_a_service_that_does_not_answer_ends_in_time(service, log, capfd):
    service.delay = 5.0
    problem = send_by_apprise(webhook(service, "&rto=0.2&cto=0.2"), MESSAGE)
    assert problem == "the service did not answer in time, or refused the message"
    assert TOKEN not in log.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("url", [f"nosuch://{TOKEN}", f"slack://{TOKEN}", f"json://127.0.0.1:1/{TOKEN}"])
def test_an_address_that_is_wrong_is_not_shown(url, log, capfd):
    problem = send_by_apprise(url, MESSAGE)
    assert problem
    assert TOKEN not in problem + log.text + "".join(capfd.readouterr())


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    def refuse(*_arguments):
        raise UsageError("x", remedy="install it")

    monkeypatch.setattr(apprise_client, "import_extra", refuse)
    with pytest.raises(UsageError):
        send_by_apprise("json://x", MESSAGE)


def address(place):
    return Address("ops", place, Recipient.model_validate({"addresses": ["/x"]}))


def test_an_address_is_read_from_a_file_a_credential_or_a_variable(tmp_path):
    file = tmp_path / "slack"
    file.write_text(f"json://h/{TOKEN}\n")
    file.chmod(0o600)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "RECONCILE_NOTIFY_A": f" json://h/{TOKEN} "}
    for place in (file, "$CREDENTIALS_DIRECTORY/slack", "$RECONCILE_NOTIFY_A"):
        assert read_address(address(place), environment) == f"json://h/{TOKEN}"


@pytest.mark.parametrize("text", ["", TOKEN, f"json://h/{TOKEN} json://h/2", f"json://h/{TOKEN}\njson://h/2"])
def test_what_is_no_address_is_refused_without_showing_it(tmp_path, text):
    file = tmp_path / "slack"
    file.write_text(text)
    file.chmod(0o600)
    for place in (file, "$RECONCILE_NOTIFY_A"):
        with pytest.raises(UsageError) as caught:
            read_address(address(place), {"RECONCILE_NOTIFY_A": text})
        assert TOKEN not in caught.value.message + caught.value.remedy


def test_an_address_that_everybody_can_read_is_refused(tmp_path):
    file = tmp_path / "slack"
    file.write_text(f"json://h/{TOKEN}\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="address"):
        read_address(address(file), {})
