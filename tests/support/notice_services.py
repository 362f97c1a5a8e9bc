"""Stand-ins of the services that people are told by, strict about the documented form of a request."""

import json
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLACK_KEYS = {"text", "attachments", "blocks", "username", "icon_url", "icon_emoji", "mrkdwn", "channel"}
WEBHOOK_KEYS = {"version", "title", "message", "attachments", "type"}


class NoticeService:
    """One HTTP server on loopback: webhooks, Slack's incoming webhooks and Teams' workflows.

    Args:
        certificate: file with certificate and key, for TLS; None for plain HTTP.
    """

    def __init__(self, certificate=None):
        self.calls = []
        self.statuses = []
        self.delay = 0.0
        self._lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                service.answer(self, self.rfile.read(length))

            def log_message(self, *_arguments):
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def messages(self):
        """(subject, body) of the messages that were accepted by the webhook."""
        with self._lock:
            return [(call["title"], call["message"]) for _, call, status in self.calls if status == 200]

    def answer(self, handler, body):
        time.sleep(self.delay)
        status, text = self.judge(handler.path, handler.headers, body)
        if status == 200 and self.statuses:
            status, text = self.statuses.pop(0), "no"
        with self._lock:
            self.calls.append((handler.path, json.loads(body), status))
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(text)))
        handler.send_header("Location", "http://127.0.0.1:1/elsewhere")
        handler.end_headers()
        handler.wfile.write(text.encode())

    def judge(self, path, headers, body):
        """Status and text by which a service answers such a request."""
        if headers["Content-Type"].partition(";")[0] != "application/json":
            return 415, "no JSON"
        request = json.loads(body)
        if path.startswith("/services/"):
            return judge_slack(path, request)
        if path.startswith("/workflows/"):
            return judge_teams(path, request)
        if request.keys() != WEBHOOK_KEYS or not request["title"] or not request["message"]:
            return 400, "invalid"
        return 200, "ok"


def judge_slack(path, request):
    """https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""
    if len(path.split("/")) != 5:
        return 404, "no_team"
    if not {"text", "attachments", "blocks"} & request.keys() or request.keys() - SLACK_KEYS:
        return 400, "invalid_payload"
    return 200, "ok"


def judge_teams(path, request):
    """https://learn.microsoft.com/en-us/connectors/teams/, the trigger of a workflow: cards."""
    wanted = ("api-version=", "sig=", "/triggers/manual/paths/invoke?")
    cards = request.get("attachments") or [{}]
    fits = (
        all(part in path for part in wanted)
        and request.get("type") == "message"
        and all(one.get("contentType") == "application/vnd.microsoft.card.adaptive" for one in cards)
        and all(one["content"]["type"] == "AdaptiveCard" and one["content"]["body"] for one in cards)
    )
    return (200, "") if fits else (400, "InvalidRequestContent")


@contextmanager
def serve_notices(certificate=None):
    service = NoticeService(certificate)
    try:
        yield service
    finally:
        service.close()
