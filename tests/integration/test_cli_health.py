"""`reconcile health`: the answer of a watch as an exit status, and every way in which there is none."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from support.commands import run_program


@pytest.fixture
def watch():
    """A server that answers with the status that it is given, and notes the paths."""

    class Answers(BaseHTTPRequestHandler):
        status, paths = 200, []

        def do_GET(self):
            self.paths.append(self.path)
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", Answers
        server.shutdown()
        thread.join()


def test_the_answer_of_the_watch_is_the_exit_status_without_a_proxy(watch, capsys, monkeypatch):
    url, answers = watch
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert run_program(capsys, "health", url) == "The watch is well.\n"
    answers.status = 503
    assert "/healthz answers with 503" in run_program(capsys, "health", url, status=1)
    assert {*answers.paths} == {"/healthz"}


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1", "http://a:port", "http://u:hunter2@"])
def test_what_is_no_url_of_a_watch_is_refused(url, capsys):
    said = run_program(capsys, "health", url, status=1)
    assert "is not the URL of a watch" in said
    assert "hunter2" not in said


def test_no_watch_is_an_error_that_says_what_to_do(capsys):
    said = run_program(capsys, "health", "http://127.0.0.1:1", status=1)
    assert "does not answer" in said
    assert "start it" in said
