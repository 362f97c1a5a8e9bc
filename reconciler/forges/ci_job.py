"""What the job of a CI system says about its repository, pull request and commit; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.forges.forge import PUBLIC_GITHUB, ForgeKind

EVENT_FILE: Final = "GITHUB_EVENT_PATH"
"""Variable of GitHub and Gitea with the file of the event that started the job."""

_PULL: Final = re.compile(r"refs/pull/([1-9][0-9]{0,8})/(?:merge|head)")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class CiJob:
    """A job of a CI system; a text is empty, and a number 0, if the system does not say it.

    Args:
        kind: None outside of the known CI systems.
        api: URL of the API of the forge.
        repository: that has the pull request.
        number: of the pull request.
        commit: newest one of the branch of the pull request, else that of the job.
        url: page with the output of the job.
    """

    kind: ForgeKind | None = None
    api: str = ""
    repository: str = ""
    number: int = 0
    commit: str = ""
    url: str = ""


def read_ci_job(environment: Mapping[str, str], event: Any = None) -> CiJob:
    """The job by the variables of GitHub Actions, GitLab CI, or the Actions of Gitea and Forgejo.

    Args:
        environment: of the process.
        event: content of the file that `EVENT_FILE` names; None if there is none.
    """
    if environment.get("CI_API_V4_URL"):
        return CiJob(
            ForgeKind.GITLAB,
            environment["CI_API_V4_URL"],
            environment.get("CI_MERGE_REQUEST_PROJECT_ID", "") or environment.get("CI_PROJECT_ID", ""),
            _read_number(environment.get("CI_MERGE_REQUEST_IID", "")),
            # The commit of a merged results pipeline exists only there.
            environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "") or environment.get("CI_COMMIT_SHA", ""),
            environment.get("CI_JOB_URL", ""),
        )
    # The runner of Gitea sets the variables of GitHub, and one of its own.
    is_gitea = any(environment.get(name) == "true" for name in ("GITEA_ACTIONS", "FORGEJO_ACTIONS"))
    if not is_gitea and environment.get("GITHUB_ACTIONS") != "true":
        return CiJob()
    repository, server = environment.get("GITHUB_REPOSITORY", ""), environment.get("GITHUB_SERVER_URL", "")
    run, pull = environment.get("GITHUB_RUN_ID", ""), _get_member(event, "pull_request")
    by_ref = _PULL.fullmatch(environment.get("GITHUB_REF", ""))
    number = _get_member(pull, "number")
    if not number and _get_member(_get_member(event, "issue"), "pull_request"):  # a comment started it
        number = _get_member(_get_member(event, "issue"), "number")
    commit = _get_member(_get_member(pull, "head"), "sha")
    return CiJob(
        ForgeKind.GITEA if is_gitea else ForgeKind.GITHUB,
        environment.get("GITHUB_API_URL", "") or ("" if is_gitea else PUBLIC_GITHUB),
        repository,
        number if isinstance(number, int) and number > 0 else _read_number(by_ref[1] if by_ref else ""),
        commit if isinstance(commit, str) else environment.get("GITHUB_SHA", ""),
        # Gitea has other ids of runs in its pages than in this variable.
        f"{server}/{repository}/actions/runs/{run}" if server and run and not is_gitea else "",
    )


def _get_member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _read_number(text: str) -> int:
    return int(text) if _NUMBER.fullmatch(text) else 0
