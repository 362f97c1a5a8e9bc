"""Requests to AWS are signed as its servers demand, and only with keys that the host has."""

import sys

import httpx
import pytest
from support.aws_requests import Keys, find_fault

from reconciler.clouds.aws_credentials import read_aws_credentials
from reconciler.clouds.aws_signature import AwsCredentials, make_aws_auth
from reconciler.errors import UsageError
from reconciler.host.aws_accounts import AwsAccount
from reconciler.host.credentials import list_known_credentials

ACCOUNT = AwsAccount(region="eu-central-1")
SECRET = "very/secret+key"


def sign(method, url, *, keys=None, service="s3", **request):
    """The error code of a server for a request that is signed with some keys."""
    keys = keys or Keys()
    auth = make_aws_auth(
        AwsCredentials(keys.id, keys.secret, keys.token), region="eu-central-1", service=service
    )
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        fault = find_fault(
            request.method,
            request.url.raw_path.decode(),
            dict(request.headers.items()),
            request.content,
            keys=keys,
            region="eu-central-1",
            service=service,
        )
        seen.append(fault)
        return httpx.Response(204)

    with httpx.Client(transport=httpx.MockTransport(answer), auth=auth) as client:
        client.request(method, url, **request)
    return seen


@pytest.mark.parametrize(
    ("method", "url", "request_"),
    [
        ("GET", "https://bucket.s3.eu-central-1.amazonaws.com/a%20b/c%2Bd~e", {}),
        ("GET", "http://127.0.0.1:9000/bucket?list-type=2&prefix=a%2Fb%20c&max-keys=2", {}),
        ("HEAD", "https://storage.example.com:9000/bucket/key", {"headers": {"X-Amz-Version": " a   b "}}),
        ("PUT", "https://storage.example.com/bucket//twice/./key", {"content": b"body"}),
        ("GET", "https://storage.example.com/bucket/k", {"headers": {"If-None-Match": '"a"', "Via": "x"}}),
    ],
)
def test_a_signed_request_to_s3_is_accepted(method, url, request_):
    assert sign(method, url, **request_) == [""]
    assert sign(method, url, keys=Keys(token="of-a-session"), **request_) == [""]


def test_a_signed_form_to_ec2_is_accepted():
    form = {"Action": "DescribeInstances", "Filter.1.Name": "tag:role", "Filter.1.Value.1": "a b&c"}
    assert sign("POST", "https://ec2.eu-central-1.amazonaws.com/", service="ec2", data=form) == [""]


def test_another_secret_is_refused():
    auth = make_aws_auth(AwsCredentials("AKIATEST", "wrong"), region="eu-central-1", service="s3")
    request = next(auth.auth_flow(httpx.Request("GET", "https://bucket.example.com/key")))
    headers, target = dict(request.headers.items()), request.url.raw_path.decode()
    assert (
        find_fault("GET", target, headers, b"", keys=Keys(), region="eu-central-1") == "SignatureDoesNotMatch"
    )


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    with pytest.raises(UsageError) as caught:
        make_aws_auth(AwsCredentials("a", "b"), region="eu-central-1", service="s3")
    assert "fleet-reconciler[aws]" in caught.value.remedy


def write_keys(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return AwsAccount(region="eu-central-1", credentials=str(path), profile="m2")


def test_keys_come_from_the_file_of_the_account_and_never_from_the_environment_then(tmp_path):
    environment = {"RECONCILE_AWS_ACCESS_KEY_ID": "other", "RECONCILE_AWS_SECRET_ACCESS_KEY": "other"}
    file = tmp_path / "aws"
    account = write_keys(
        file, f"[default]\nx = 1\n[m2]\naws_access_key_id=AKIA\naws_secret_access_key = {SECRET}\n"
    )
    assert read_aws_credentials("b", account, environment) == AwsCredentials("AKIA", SECRET)
    write_keys(file, "[m2]\naws_access_key_id=A\naws_secret_access_key=B\naws_session_token=C\n")
    assert read_aws_credentials("b", account, environment) == AwsCredentials("A", "B", "C")
    folder = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    named = account.model_copy(update={"credentials": "$CREDENTIALS_DIRECTORY/aws"})
    assert read_aws_credentials("b", named, folder) == AwsCredentials("A", "B", "C")
    with pytest.raises(UsageError, match="no credentials folder"):
        read_aws_credentials("b", named, {})


def test_keys_come_from_variables_or_from_files_that_variables_name(tmp_path):
    (tmp_path / "secret").write_text(SECRET + "\n")
    environment = {
        "RECONCILE_AWS_ACCESS_KEY_ID": "AKIA",
        "RECONCILE_AWS_SECRET_ACCESS_KEY_FILE": str(tmp_path / "secret"),
    }
    found = read_aws_credentials("b", ACCOUNT, environment)
    assert found == AwsCredentials("AKIA", SECRET)
    assert SECRET not in repr(found)
    assert SECRET in list_known_credentials(environment)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (None, 0o600, "does not exist"),
        (f"[m2]\naws_secret_access_key={SECRET}\n", 0o600, "no aws_access_key_id"),
        ("[m2]\naws_access_key_id=A\naws_secret_access_key=\n", 0o600, "no aws_secret_access_key"),
        ("[default]\naws_access_key_id=A\n", 0o600, r"no section \[m2\]"),
        (f"[m2]\n{SECRET}\n", 0o600, "aws:2 is not in the form"),
        (f"{SECRET} = 1\n", 0o600, "is not in the form"),
        (f"[m2]\naws_access_key_id=A\naws_secret_access_key={SECRET} x\n", 0o600, "characters"),
        (f"[m2]\naws_access_key_id=A\naws_secret_access_key={SECRET}\n", 0o644, "every user"),
        (f"[m2]\naws_access_key_id=A\naws_secret_access_key={SECRET}\n", 0o622, "others may write"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_its_content(tmp_path, text, mode, words):
    file = tmp_path / "aws"
    if text is None:
        account = AwsAccount(region="eu-central-1", credentials=str(file), profile="m2")
    else:
        account = write_keys(file, text, mode)
    with pytest.raises(UsageError, match=words) as caught:
        read_aws_credentials("backups", account, {})
    assert SECRET not in f"{caught.value} {caught.value.remedy}"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "backups.*RECONCILE_AWS_ACCESS_KEY_ID and no RECONCILE_AWS_SECRET_ACCESS_KEY"),
        ({"RECONCILE_AWS_ACCESS_KEY_ID": "A"}, "no RECONCILE_AWS_SECRET_ACCESS_KEY"),
        (
            {"RECONCILE_AWS_ACCESS_KEY_ID": "A", "RECONCILE_AWS_SECRET_ACCESS_KEY": "b\r\nHost: x"},
            "characters",
        ),
    ],
)
def test_missing_and_unusable_keys_of_the_environment_are_refused(environment, words):
    with pytest.raises(UsageError, match=words):
        read_aws_credentials("backups", ACCOUNT, environment)
