"""Comments and commit statuses on GitHub, GitLab and Gitea."""
