"""Strict stand-ins of the APIs of GitHub, GitLab and Gitea, served on loopback.

They take only the documented requests: path, method, headers, fields and their types, and lengths. Anything
else is refused as the forge refuses it, and noted in `faults`.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

TOKEN = "t0ken-of-the-forge"
COMMIT = "4be6bbe0c4e4d0a5cd8ce2a6c7a0f25b5c5d7a11"
OWN = {"github": "github-actions[bot]", "gitlab": "project_3_bot", "gitea": "fleet-bot"}
REPOSITORY = "operations/fleet"
STATES = {
    "github": {"error", "failure", "pending", "success"},
    "gitea": {"pending", "success", "error", "failure", "warning", "skipped"},
    "gitlab": {"pending", "running", "success", "failed", "canceled", "skipped"},
}
PREFIX = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}
LONGEST = {"github": 65_536, "gitlab": 1_000_000, "gitea": 10_000_000}


class StandIn:
    """One forge with one pull request, number 7.

    Args:
        kind: github, gitlab or gitea.
    """

    def __init__(self, kind):
        self.kind = kind
        self.comments = []
        self.statuses = []
        self.faults = []
        self.requests = []
        self.answers = []  # (method, status, headers, body) that come first; the method is a pattern
        self.before = None  # called before each request, with method and path
        self.lock = threading.RLock()
        self.page = None  # items of a page at most, whatever is asked for
        self.last_id = 100

    def add(self, author, body):
        """A comment of somebody."""
        with self.lock:
            self.last_id += 1
            self.comments.append({"id": self.last_id, "author": author, "body": body})
            return self.comments[-1]

    def refuse_first(self, status, body=b"{}", *, method=".*", times=1, **headers):
        """Answer so before anything else."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers += [(method, status, named, body)] * times

    def bodies(self):
        return [one["body"] for one in self.comments]

    @property
    def variables(self):
        """What a job of its CI system has, apart from the token."""
        if self.kind == "gitlab":
            return {
                "CI_API_V4_URL": self.api,
                "CI_PROJECT_ID": "3",
                "CI_MERGE_REQUEST_IID": "7",
                "CI_COMMIT_SHA": COMMIT,
                "CI_JOB_URL": "https://git.example.com/operations/fleet/-/jobs/5",
            }
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.api,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_SHA": COMMIT,
            **({"GITEA_ACTIONS": "true"} if self.kind == "gitea" else {}),
        }

    def answer(self, method, target, headers, body):
        """Status, headers and value of an answer."""
        parts = urlsplit(target)
        self.requests.append((method, target, dict(headers), body))
        if self.before is not None:
            self.before(method, parts.path)
        for number, (pattern, status, extra, raw) in enumerate(self.answers):
            if re.fullmatch(pattern, method):
                del self.answers[number]
                return status, extra, raw
        expected = {"github": ("authorization", f"Bearer {TOKEN}"), "gitlab": ("private-token", TOKEN)}
        name, value = expected.get(self.kind, ("authorization", f"token {TOKEN}"))
        if headers.get(name) != value:
            return 401, {}, {"message": "Bad credentials" if self.kind != "gitlab" else "401 Unauthorized"}
        if self.kind == "github" and not headers.get("user-agent"):
            return self._fault(403, "no user agent")
        if self.kind == "github" and headers.get("x-github-api-version") != "2022-11-28":
            return self._fault(400, "no version of the API")
        value = None
        if body:
            if headers.get("content-type") != "application/json":
                return self._fault(415, "the body is not declared as JSON")
            value = json.loads(body)
        query = {key: found[0] for key, found in parse_qs(parts.query).items()}
        with self.lock:
            return self._route(method, parts.path, query, value)

    def _fault(self, status, text):
        self.faults.append(text)
        return status, {}, {"message": text}

    def _route(self, method, path, query, value):
        if self.kind == "github" and path == "/api/graphql":
            if value != {"query": "query { viewer { login } }"}:
                return self._fault(400, "another query")
            return 200, {}, {"data": {"viewer": {"login": OWN["github"]}}}
        path = path.removeprefix(PREFIX[self.kind])
        if path == "/user" and method == "GET":
            if self.kind == "github":  # as for the token of a workflow
                return 403, {}, {"message": "Resource not accessible by integration"}
            return 200, {}, {"id": 9, "username" if self.kind == "gitlab" else "login": OWN[self.kind]}
        return self._route_comments(method, path, query, value)

    def _route_comments(self, method, path, query, value):
        comments = self._path("/repos/{r}/issues/7/comments", "/projects/{r}/merge_requests/7/notes")
        one = self._path("/repos/{r}/issues/comments/", "/projects/{r}/merge_requests/7/notes/")
        statuses = self._path("/repos/{r}/statuses/", "/projects/{r}/statuses/")
        number, changes = path.removeprefix(one), "PUT" if self.kind == "gitlab" else "PATCH"
        if path == comments and method in {"GET", "POST"}:
            return self._list(path, query) if method == "GET" else self._write(value, None)
        if path.startswith(one) and method in {changes, "DELETE"}:
            return self._delete(int(number)) if method == "DELETE" else self._write(value, int(number))
        if path.startswith(statuses) and method == "POST":
            return self._set_status(unquote(path.removeprefix(statuses)), value)
        return 404, {}, {"message": "Not Found"}

    def _path(self, plain, gitlab):
        return gitlab.format(r="3") if self.kind == "gitlab" else plain.format(r=REPOSITORY)

    def _show(self, one):
        user = {"id": 1, "username": one["author"]} if self.kind == "gitlab" else {"login": one["author"]}
        member = "author" if self.kind == "gitlab" else "user"
        return {"id": one["id"], "body": one["body"], member: user, "created_at": "2026-01-01T00:00:00Z"}

    def _list(self, path, query):
        found = [self._show(one) for one in sorted(self.comments, key=lambda one: one["id"])]
        if self.kind == "gitea":  # this list has no pages
            return (200, {}, found) if not query else self._fault(422, f"unknown parameters {query}")
        size, page = int(query.get("per_page", "30")), int(query.get("page", "1"))
        if not 1 <= size <= 100:
            return self._fault(422, "per_page")
        size = min(size, self.page or size)
        shown = found[(page - 1) * size : page * size]
        headers = {}
        if page * size < len(found):
            following = urlencode({**query, "page": str(page + 1)})
            # As behind a proxy: the host of the link is not the one that was called.
            headers["link"] = (
                f'<https://elsewhere.example.com{path}?page=1>; rel="first", '
                f'<https://elsewhere.example.com{path}?{following}>; rel="next"'
            )
        return 200, headers, shown

    def _write(self, value, number):
        if not isinstance(value, dict) or set(value) != {"body"} or not value["body"]:
            return self._fault(422, "a comment has a body and nothing else")
        if len(value["body"]) > LONGEST[self.kind]:
            return self._fault(422, f"Body is too long (maximum is {LONGEST[self.kind]} characters)")
        if number is None:
            return 201, {}, self._show(self.add(OWN[self.kind], value["body"]))
        found = [one for one in self.comments if one["id"] == number]
        if not found:
            return 404, {}, {"message": "Not Found"}
        if found[0]["author"] != OWN[self.kind]:
            return self._fault(403, "the comment of somebody else")
        found[0]["body"] = value["body"]
        return 200, {}, self._show(found[0])

    def _delete(self, number):
        found = [one for one in self.comments if one["id"] == number]
        if not found:
            return 404, {}, {"message": "Not Found"}
        if found[0]["author"] != OWN[self.kind]:
            return self._fault(403, "the comment of somebody else")
        self.comments.remove(found[0])
        return 204, {}, b""

    def _set_status(self, commit, value):
        fields = (
            {"state", "name", "target_url", "description"}
            if self.kind == "gitlab"
            else {"state", "context", "target_url", "description"}
        )
        if (
            not isinstance(value, dict)
            or not set(value) <= fields
            or value.get("state") not in STATES[self.kind]
        ):
            return self._fault(422, f"not the fields of a status: {value}")
        most = {"github": 140, "gitlab": 255}.get(self.kind, 10_000)
        if len(value.get("description", "")) > most:
            return self._fault(422, "description is too long")
        if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", commit):
            return 422, {}, {"message": f"No commit found for SHA: {commit}"}
        name = value.get("name", value.get("context"))
        if self.kind == "gitlab":
            last = [one for one in self.statuses if (one["commit"], one["name"]) == (commit, name)]
            if last and last[-1]["state"] == value["state"] == "pending":
                text = "Cannot transition status via :enqueue from :pending (Reason(s): …)"
                return 400, {}, {"message": text}
        target = value.get("target_url", "")
        self.statuses.append(
            {"commit": commit, "name": name, "state": value["state"], "target": target}
            | {"description": value.get("description", "")}
        )
        return 201, {}, {"id": len(self.statuses), "state": value["state"]}


@contextmanager
def serving_forge(kind):
    """A stand-in with its address in `api`."""
    stand_in = StandIn(kind)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            length = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, value = stand_in.answer(
                self.command, self.path, headers, self.rfile.read(length) if length else b""
            )
            raw = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"content-type": "application/json; charset=utf-8", **more}.items():
                self.send_header(name, text)
            if status != 204:
                self.send_header("content-length", str(len(raw)))
            self.end_headers()
            try:
                if status != 204:
                    self.wfile.write(raw)
            except (BrokenPipeError, ConnectionResetError):  # the client has read enough
                self.close_connection = True

        def log_message(self, *_):
            pass

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.handle_any)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        stand_in.api = f"http://127.0.0.1:{server.server_port}{PREFIX[kind]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield stand_in
        finally:
            server.shutdown()
            thread.join()
