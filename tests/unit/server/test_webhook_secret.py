"""A webhook secret that changes in its file is in force with the next call."""

import io
import json

from reconciler.server.logs import open_log
from reconciler.server.webhook.secret import WebhookSecret


def test_a_new_secret_is_read_and_an_unreadable_file_keeps_the_last_one(tmp_path):
    lines, file = io.StringIO(), tmp_path / "secret"
    file.write_text("old\n")
    secret = WebhookSecret({"RECONCILE_WEBHOOK_SECRET_FILE": str(file)}, "old", open_log(lines, form="json"))
    assert secret() == "old"
    file.write_text("new\n")
    assert [secret(), secret()] == ["new", "new"]
    file.write_text("")  # as it is for a moment while it is written
    assert [secret(), secret()] == ["new", "new"]
    file.unlink()
    assert secret() == "new"
    file.write_text("third\n")
    assert secret() == "third"
    events = [json.loads(line)["event"] for line in lines.getvalue().splitlines()]
    assert events == [
        "webhook secret changed",
        "webhook secret cannot be read",
        "webhook secret cannot be read",
        "webhook secret changed",
    ]
    assert "third" not in lines.getvalue()


def test_a_secret_in_the_environment_stays(tmp_path):
    secret = WebhookSecret({"RECONCILE_WEBHOOK_SECRET": "one"}, "one", open_log(io.StringIO()))
    assert [secret(), secret()] == ["one", "one"]
