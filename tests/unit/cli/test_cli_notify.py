"""`reconcile notify` says what came of each address, and never shows one."""

import pytest
from support.notice_services import serve_notices

from reconciler.cli.main import main

TOKEN = "pl4ntedt0ken"


@pytest.fixture
def service():
    with serve_notices() as service:
        yield service


@pytest.fixture
def host(tmp_path, service, monkeypatch):
    address = tmp_path / "good"
    address.write_text(f"json://127.0.0.1:{service.port}/{TOKEN}?+X-Token={TOKEN}\n")
    address.chmod(0o600)
    monkeypatch.setenv("RECONCILE_NOTIFY_BAD", f"json://127.0.0.1:1/{TOKEN}")
    file = tmp_path / "host.yaml"
    file.write_text(
        f"notifications: {{recipients: {{good: {{addresses: [{address}]}}, "
        f"both: {{addresses: [{address}, $RECONCILE_NOTIFY_BAD, {tmp_path}/absent]}}}}}}\n"
    )
    file.chmod(0o600)
    return str(file)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_each_address_is_named_with_what_came_of_it(host, service, capsys, tmp_path):
    assert main(["notify", "--test", "good", "--host-config", host]) == 0
    assert capsys.readouterr().out == f"good {tmp_path}/good: delivered\n"
    ((subject, _),) = service.messages
    assert subject == "Test message of the reconciler"
    assert main(["notify", "--test", "both", "--host-config", host]) == 1
    shown = "".join(capsys.readouterr())
    first, second, third = shown.splitlines()
    assert first.endswith(": delivered")
    assert second.startswith("both $RECONCILE_NOTIFY_BAD: not delivered: the service did not answer")
    assert third.startswith(f"both {tmp_path}/absent: not delivered: the file with an address")
    assert TOKEN not in shown


def test_an_unknown_recipient_is_refused_with_the_known_ones(host, capsys):
    assert main(["notify", "--test", "nobody", "--host-config", host]) == 1
    assert "both, good" in capsys.readouterr().err
