"""What the variables and the event of a CI system say about a job."""

import pytest

from reconciler.forges.ci_job import CiJob, read_ci_job
from reconciler.forges.forge import PUBLIC_GITHUB, ForgeKind

HEAD, MERGE = "a" * 40, "b" * 40
GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REPOSITORY": "operations/fleet",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_RUN_ID": "99",
    "GITHUB_REF": "refs/pull/7/merge",
    "GITHUB_SHA": MERGE,
}
PULL = {"pull_request": {"number": 8, "head": {"sha": HEAD}}}


def test_github_by_its_event_which_has_the_commit_of_the_branch():
    job = read_ci_job({**GITHUB, "GITHUB_API_URL": "https://ghe.example.com/api/v3"}, PULL)
    assert (job.kind, job.api) == (ForgeKind.GITHUB, "https://ghe.example.com/api/v3")
    assert (job.number, job.commit) == (8, HEAD)
    assert job.url == "https://github.com/operations/fleet/actions/runs/99"


@pytest.mark.parametrize(
    ("event", "number"),
    [
        (None, 7),
        ({"issue": {"number": 9, "pull_request": {"url": "x"}}}, 9),
        ({"issue": {"number": 9}}, 7),
        ({"pull_request": {"number": "8; x", "head": 3}}, 7),
        ({"pull_request": {"number": -1}}, 7),
        ([1], 7),
    ],
    ids=["none", "comment", "issue", "text", "negative", "list"],
)
def test_github_by_its_ref_where_the_event_does_not_say(event, number):
    job = read_ci_job(GITHUB, event)
    assert (job.api, job.number, job.commit) == (PUBLIC_GITHUB, number, MERGE)


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/pull/0/merge", "refs/pull/7/merge/x", ""])
def test_a_job_for_no_pull_request_has_no_number(ref):
    assert read_ci_job({**GITHUB, "GITHUB_REF": ref}).number == 0


@pytest.mark.parametrize("variable", ["GITEA_ACTIONS", "FORGEJO_ACTIONS"])
def test_gitea_is_told_from_github_and_has_no_address_of_its_own(variable):
    job = read_ci_job({**GITHUB, variable: "true", "GITHUB_REF": "refs/pull/7/head"})
    assert (job.kind, job.api, job.number, job.url) == (ForgeKind.GITEA, "", 7, "")


def test_gitlab_names_the_commit_of_the_branch_before_that_of_the_merge():
    variables = {
        "CI_API_V4_URL": "https://git.example.com/api/v4",
        "CI_PROJECT_ID": "3",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_COMMIT_SHA": MERGE,
        "CI_JOB_URL": "https://git.example.com/x/-/jobs/5",
    }
    job = read_ci_job(variables)
    assert job == CiJob(ForgeKind.GITLAB, variables["CI_API_V4_URL"], "3", 7, MERGE, variables["CI_JOB_URL"])
    more = {"CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": HEAD, "CI_MERGE_REQUEST_PROJECT_ID": "4"}
    job = read_ci_job({**variables, **more})
    assert (job.commit, job.repository) == (HEAD, "4")


def test_elsewhere_nothing_is_known():
    assert read_ci_job({}) == CiJob()
    assert read_ci_job({"GITHUB_ACTIONS": "false", "GITHUB_REPOSITORY": "a/b"}) == CiJob()
