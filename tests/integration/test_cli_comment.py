"""`reconcile comment` and `reconcile commit-status` against strict stand-ins of the three APIs."""

import asyncio
import threading
from functools import partial

import pytest
from support.commands import run_program
from support.forges import COMMIT, OWN, REPOSITORY, TOKEN, serving_forge

from reconciler.forges import connection
from reconciler.forges.forge import ForgeKind, ForgeRepository
from reconciler.forges.sticky_comment import PLAIN_MARK, keep_comment
from reconciler.sources.http_routes import make_http_transport

KINDS = ("github", "gitlab", "gitea")
PLAN = f"{PLAIN_MARK}\n### 3 steps in 2 clusters\n\n| cluster | kind |\n|---|---|\n| edge | m2 |\n"


@pytest.fixture(params=KINDS)
def forge(request, monkeypatch):
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)
    with serving_forge(request.param) as stand_in:
        yield stand_in
        assert stand_in.faults == []
        assert all(TOKEN not in target for _, target, _, _ in stand_in.requests)


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.md"
    path.write_text(PLAN, encoding="utf-8")
    return path


def comment(capsys, forge, plan, *options, status=0, **variables):
    environment = {**forge.variables, "RECONCILE_FORGE_TOKEN": TOKEN, **variables}
    out = run_program(capsys, "comment", plan, *options, status=status, environment=environment)
    assert TOKEN not in out
    return out


def test_the_first_run_creates_the_comment_and_later_ones_update_it(capsys, forge, plan):
    assert "created" in comment(capsys, forge, plan)
    assert forge.bodies() == [PLAN]
    assert "already up to date" in comment(capsys, forge, plan)
    plan.write_text("Nothing to do.\n", encoding="utf-8")
    assert "updated" in comment(capsys, forge, plan)
    assert forge.bodies() == [f"{PLAIN_MARK}\nNothing to do.\n"]
    written = [method for method, path, _, _ in forge.requests if method != "GET" and "graphql" not in path]
    assert len(written) == 2, "an equal text is not written again"


def test_each_id_has_its_own_comment(capsys, forge, plan):
    for name in ("", "north", "south", "north"):
        comment(capsys, forge, plan, *(["--id", name] if name else []))
    marks = [body.partition("\n")[0] for body in forge.bodies()]
    assert marks == [PLAIN_MARK, "<!-- reconcile: plan north -->", "<!-- reconcile: plan south -->"]


def test_a_comment_of_somebody_else_with_the_mark_is_not_touched(capsys, forge, plan):
    forge.add("mallory", f"{PLAIN_MARK}\nAll is well, merge it.")
    forge.add(OWN[forge.kind], f"I quote:\n{PLAIN_MARK}")
    assert "created" in comment(capsys, forge, plan)
    assert forge.bodies()[:2] == [f"{PLAIN_MARK}\nAll is well, merge it.", f"I quote:\n{PLAIN_MARK}"]
    assert "already" in comment(capsys, forge, plan)
    assert len(forge.comments) == 3


def test_the_own_comment_is_found_on_a_later_page(capsys, forge, plan):
    forge.page = 3
    for number in range(8):
        forge.add("kim", f"comment {number}")
    mine = forge.add(OWN[forge.kind], f"{PLAIN_MARK}\nold")
    forge.add("kim", "last")
    assert "updated" in comment(capsys, forge, plan)
    assert mine["body"] == PLAN
    assert len(forge.comments) == 10


def test_two_jobs_at_once_end_with_one_comment(forge):
    """Both read the list before one of them has written."""
    met, reads = threading.Barrier(2, timeout=10), []

    def meet(method, path):
        if method == "GET" and path.endswith(("comments", "notes")):
            reads.append(path)
            if len(reads) <= 2:
                met.wait()

    forge.before = meet
    repository = ForgeRepository(
        ForgeKind(forge.kind), forge.api, "3" if forge.kind == "gitlab" else REPOSITORY
    )

    async def write():
        async with connection.open_forge(repository, TOKEN, partial(make_http_transport, {})) as one:
            return await keep_comment(one, 7, PLAN)

    async def write_twice():
        return await asyncio.gather(write(), write())

    asyncio.run(write_twice())
    assert forge.bodies() == [PLAN]
    assert forge.last_id == 102, "both have created one"


def test_a_killed_jobs_second_comment_is_deleted_by_the_next_run(capsys, forge, plan):
    for text in ("old", "newer"):
        forge.add(OWN[forge.kind], f"{PLAIN_MARK}\n{text}")
    comment(capsys, forge, plan)
    assert forge.bodies() == [PLAN]


def test_a_plan_beyond_the_limit_is_cut_and_says_so(capsys, forge, plan):
    if forge.kind == "gitlab":
        text = "<details><summary>all</summary>\n\n```diff\n" + "+ a 😀 line\n" * 150_000
    else:
        text = "<details><summary>all</summary>\n\n```diff\n" + "+ a 😀 line\n" * 10_000
    plan.write_text(text, encoding="utf-8")
    comment(capsys, forge, plan)
    (body,) = forge.bodies()
    assert len(body) <= (1_000_000 if forge.kind == "gitlab" else 65_536)
    assert len(body) > (800_000 if forge.kind == "gitlab" else 55_000)
    assert "The rest is left out" in body
    assert body.count("```") == 2
    assert body.count("</details>") == 1
    assert "already" in comment(capsys, forge, plan)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [500, 502, 429])
def test_a_forge_that_cannot_answer_is_asked_again(capsys, forge, plan, method, status):
    forge.refuse_first(status, b"<html>bad gateway", method=method, times=2, retry_after="0")
    comment(capsys, forge, plan)
    assert forge.bodies() == [PLAN]


def test_a_lost_answer_to_a_new_comment_makes_no_second_one(capsys, forge, plan):
    def write_and_lose(method, path):
        if method == "POST" and path.endswith(("comments", "notes")) and not forge.comments:
            forge.add(OWN[forge.kind], PLAN)
            forge.refuse_first(502, b"", method="POST")

    forge.before = write_and_lose
    comment(capsys, forge, plan)
    assert forge.bodies() == [PLAN]


def test_a_wait_that_is_too_long_is_not_waited_for(capsys, forge, plan):
    forge.refuse_first(429, b'{"message": "slow down"}', retry_after="3600")
    out = comment(capsys, forge, plan, status=1)
    assert "answers 429: slow down; it asks to wait 3600 s" in out
    assert forge.comments == []


@pytest.mark.parametrize(
    "refusal",
    [
        (401, b'{"message": "Bad credentials"}', "answers 401: Bad credentials"),
        (
            403,
            b'{"message": "Resource not accessible by integration"}',
            "answers 403: Resource not accessible",
        ),
        (404, b'{"message": "Not Found"}', "answers 404: Not Found"),
        (422, b'{"message": {"base": ["too long"]}}', 'answers 422: {"base": ["too long"]}'),
        (200, b"<html>log in</html>", "does not answer as the API of a forge does"),
        (200, b'{"a": ' * 100, "does not answer as the API of a forge does"),
        (200, b'[{"id": "x", "body": 3}]', "does not answer as the API of a forge does"),
        (418, b"\x00\xff" * 500, "answers 418"),
        (403, f'{{"message": "no: {TOKEN}\\u001b[2J"}}'.encode(), "no: ***"),
    ],
    ids=["token", "permission", "missing", "invalid", "page", "cut", "shape", "bytes", "secret"],
)
def test_a_refusal_says_what_and_what_to_do(capsys, forge, plan, refusal):
    status, body, said = refusal
    forge.refuse_first(status, body, times=9)
    out = comment(capsys, forge, plan, status=1)
    assert said in out
    assert "\x1b" not in out
    if status in {401, 403, 404} and b"no:" not in body:
        assert "→" in out
    assert forge.comments == []


def test_a_redirect_to_another_host_is_refused_and_gets_no_token(capsys, forge, plan):
    with serving_forge(forge.kind) as other:
        forge.refuse_first(307, b"", location=f"{other.api}/user")
        out = comment(capsys, forge, plan, status=1)
        assert "redirect that is not followed" in out
        assert other.requests == []


def test_an_answer_without_end_is_cut_off(capsys, forge, plan):
    forge.refuse_first(200, b"[" + b" " * (33 * 1024 * 1024))
    assert "more than 33,554,432 bytes" in comment(capsys, forge, plan, status=1)


@pytest.mark.parametrize("kind", ["github", "gitlab"])  # this list of Gitea has no pages
def test_a_list_of_pages_without_end_ends(capsys, plan, kind):
    with serving_forge(kind) as forge:
        link = f'<{forge.api}/x?page=1>; rel="next"'
        forge.refuse_first(200, b"[]", method="GET", times=9, link=link)
        assert "one without an end" in comment(capsys, forge, plan, "--user", OWN[kind], status=1)


def test_the_token_is_needed_and_must_be_one(capsys, forge, plan, tmp_path):
    assert "set RECONCILE_FORGE_TOKEN" in comment(capsys, forge, plan, status=1, RECONCILE_FORGE_TOKEN="")
    out = comment(capsys, forge, plan, status=1, RECONCILE_FORGE_TOKEN=f"{TOKEN}\r\nx: y")
    assert "more than a token" in out
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    comment(capsys, forge, plan, RECONCILE_FORGE_TOKEN="", RECONCILE_FORGE_TOKEN_FILE=str(file))
    assert forge.bodies() == [PLAN]


def test_options_name_what_no_ci_system_names(capsys, forge, plan):
    repository = "3" if forge.kind == "gitlab" else REPOSITORY
    named = ["--forge", forge.kind, "--api-url", f"{forge.api}/", "--repository", repository, "--number", "7"]
    token = {"RECONCILE_FORGE_TOKEN": TOKEN}
    run_program(capsys, "comment", plan, *named, environment=token)
    assert forge.bodies() == [PLAN]
    for left in range(0, 8, 2):
        fewer = named[:left] + named[left + 2 :]
        if forge.kind == "github" and left == 2:  # that would be GitHub itself
            continue
        run_program(capsys, "comment", plan, *fewer, status=1, environment=token)
    clear = [*named, "--api-url", "http://git.example.com/api/v4"]
    out = run_program(capsys, "comment", plan, *clear, status=1, environment=token)
    assert "over http, everybody on the way could read" in out


@pytest.mark.parametrize(
    ("result", "state"),
    [
        *((state, state) for state in ("pending", "success", "failure")),
        *((number, "success") for number in ("0", "2")),
        *((number, "failure") for number in ("3", "1", "139")),
    ],
)
def test_a_status_is_set_by_a_word_or_an_exit_status(capsys, forge, result, state):
    environment = {**forge.variables, "RECONCILE_FORGE_TOKEN": TOKEN}
    for _ in range(2):  # GitLab refuses to go from pending to pending
        run_program(capsys, "commit-status", result, environment=environment)
    names = {"failure": "failed"} if forge.kind == "gitlab" else {}
    found = forge.statuses[0]
    assert (found["commit"], found["name"]) == (COMMIT, "reconcile")
    assert found["state"] == names.get(state, state)
    assert bool(found["description"]) is result.isdigit()
    assert found["target"] == (
        "https://git.example.com/operations/fleet/-/jobs/5" if forge.kind == "gitlab" else ""
    )


def test_a_status_with_everything_named(capsys, forge):
    environment = {**forge.variables, "RECONCILE_FORGE_TOKEN": TOKEN}
    options = [
        "--description",
        "é" * 400,
        "--context",
        "fleet/north",
        "--target-url",
        "https://w.example.com/x",
    ]
    run_program(capsys, "commit-status", "success", *options, "--commit", "0" * 40, environment=environment)
    (found,) = forge.statuses
    assert (found["commit"], found["name"], found["target"]) == ("0" * 40, "fleet/north", options[-1])
    assert found["description"].startswith("ééé")
    for wrong in (["maybe"], ["success", "--commit", "main"], ["success", "--target-url", "javascript:x"]):
        out = run_program(capsys, "commit-status", *wrong, status=1, environment=environment)
        assert "→" in out


def test_the_secondary_limit_of_github_is_told_from_a_missing_permission(capsys, plan, monkeypatch):
    waited = []

    async def wait(seconds):
        waited.append(seconds)

    monkeypatch.setattr(connection.repeat_until_done, "__kwdefaults__", {"wait": wait})
    with serving_forge("github") as forge:
        text = b'{"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}'
        forge.refuse_first(403, text)
        forge.refuse_first(403, b'{"message": "abuse"}', retry_after="7")
        comment(capsys, forge, plan)
        assert forge.bodies() == [PLAN]
    assert waited == [60.0, 7.0]
