"""Packages and backups in S3 as a source: what is the revision, what it costs, and what each failure says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from support.aws_requests import Keys, find_fault
from support.s3_server import BUCKET, REGION, make_feed, make_package, s3_serving

from reconciler.errors import ReconcilerError, SourceUnreachable, UsageError
from reconciler.host.aws_accounts import AwsAccount, S3Rules
from reconciler.sources.locate import locate_source
from reconciler.sources.s3.location import parse_s3_location

ENVIRONMENT = {"RECONCILE_AWS_ACCESS_KEY_ID": Keys().id, "RECONCILE_AWS_SECRET_ACCESS_KEY": Keys().secret}
T1, T2, T3, T4, T5 = (f"2026{month:02}{day:02}T141030000Z" for month, day in
                      ((9, 1), (9, 2), (10, 1), (10, 2), (11, 3)))  # fmt: skip


def make_account(endpoint=None, **more):
    s3 = S3Rules(buckets=(BUCKET, "other-bucket"), endpoint=endpoint, path_style=endpoint is not None)
    return AwsAccount(**{"region": REGION, "s3": s3} | more)


def package(text):
    return make_package({"setting.json": text.encode(), "certs/a.pem": b"pem"})


@pytest.fixture
async def s3():
    async with s3_serving() as server:
        yield server


@pytest.fixture
def locate(tmp_path, s3):
    def locate(text, *, environment=ENVIRONMENT, account=None, cache="cache", **options):
        accounts = {"backups": account or make_account(s3.endpoint)}
        return locate_source(
            text, cache=tmp_path / cache, environment=environment, accounts=accounts, **options
        )

    return locate


async def refused(source):
    with pytest.raises(ReconcilerError) as caught:
        await source.snapshot()
    error = caught.value
    words = f"{error.message} → {error.remedy}"
    assert "SERVER-WORDS" not in words
    assert "<" not in words
    assert Keys().secret not in words
    assert error.remedy
    return error


async def test_a_package_is_a_tarball_and_an_unchanged_one_costs_one_small_answer(s3, locate):
    s3.put("a b/set+ting.tgz", package("one"))
    source = locate(f"s3://{BUCKET}/a b/set+ting.tgz")
    first = await source.snapshot()
    assert list(first.files.names()) == ["certs/a.pem", "setting.json"]
    assert first.files.read("setting.json") == b"one"
    assert first.revision.source == f"s3://{BUCKET}/a b/set+ting.tgz"
    assert source.is_dated_by_use
    s3.requests.clear()
    assert await source.snapshot() == first
    assert s3.requests == [f"GET /{BUCKET}/a%20b/set%2Bting.tgz"]
    # A new process has the answer of the last one.
    again = locate(f"s3://{BUCKET}/a b/set+ting.tgz")
    assert (await again.snapshot()).revision == first.revision
    s3.put("a b/set+ting.tgz", package("two"))
    assert (await source.snapshot()).files.read("setting.json") == b"two"


async def test_the_revision_of_a_path_is_its_newest_backup(s3, locate):
    s3.put_backup(T1, package("one"))
    source = locate(f"s3://{BUCKET}/m2/")
    first = await source.snapshot()
    assert first.files.read("setting.json") == b"one"
    assert first.revision.source == f"s3://{BUCKET}/m2"
    assert first.revision.title == f"setting_{T1}.tgz"
    s3.requests.clear()
    assert await source.snapshot() is first
    assert s3.requests == [f"GET /{BUCKET}/m2/feed.json"]
    s3.put_backup(T2, package("two"))
    second = await source.snapshot()
    assert second.files.read("setting.json") == b"two"
    assert second.revision.id != first.revision.id


async def test_a_feed_that_is_late_or_out_of_order_brings_nothing_older(s3, locate):
    old, new = s3.put_backup(T1, package("one")), s3.put_backup(T3, package("three"))
    source = locate(f"s3://{BUCKET}/m2")
    assert (await source.snapshot()).files.read("setting.json") == b"three"
    s3.put_feed(old)  # an older message after a newer one
    assert (await source.snapshot()).files.read("setting.json") == b"three"
    s3.put_feed(new)  # the same twice
    s3.put_feed(new)
    assert (await source.snapshot()).files.read("setting.json") == b"three"
    s3.put_backup(T4, package("four"), feed=False)  # its feed is lost
    fresh = locate(f"s3://{BUCKET}/m2", cache="another")
    assert (await fresh.snapshot()).files.read("setting.json") == b"four"
    for time in (T2, T5):
        s3.put_backup(time, package(time))
    assert (await source.snapshot()).files.read("setting.json") == T5.encode()


async def test_newer_backups_that_are_removed_do_not_bring_back_older_ones(s3, locate):
    s3.put_backup(T1, package("one"))
    newer = s3.put_backup(T2, package("two"))
    await locate(f"s3://{BUCKET}/m2").snapshot()
    del s3.objects[newer]
    s3.put_backup(T1, package("one"))
    error = await refused(locate(f"s3://{BUCKET}/m2"))
    assert f"setting_{T1}.tgz, older than setting_{T2}.tgz" in error.message
    assert f"reconcile rollback {T1}" in error.remedy


async def test_a_backup_of_a_time_to_come_is_refused(s3, locate):
    s3.put_backup(T1, package("one"))
    source = locate(f"s3://{BUCKET}/m2")
    await source.snapshot()
    s3.put_backup((datetime.now(UTC) + timedelta(days=40)).strftime("%Y%m%dT%H%M%S000Z"), package("two"))
    assert "a time that is not yet" in (await refused(source)).message


async def test_a_poisoned_package_is_refused_and_looked_at_again(s3, locate):
    good = s3.put_backup(T1, package("one"))
    source = locate(f"s3://{BUCKET}/m2")
    await source.snapshot()
    bad = s3.put_backup(T2, b"not an archive")
    for _ in range(2):
        assert "setting_" in (await refused(source)).message
    s3.put(bad, make_package({"../../etc/passwd": b"x"}))
    await refused(source)
    s3.put(bad, package("two"))
    assert (await source.snapshot()).files.read("setting.json") == b"two"
    assert good != bad


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"[" * 30_000,
        b"\xff\xfe",
        b'{"parameters": null}',
        b'{"parameters": [{}]}',
        make_feed("s3://m2-backups/other/settings/2026/11/setting_20261103T141030000Z.tgz"),
        make_feed("https://evil.example/x/settings/2026/11/setting_20261103T141030000Z.tgz"),
    ],
)
async def test_a_poisoned_feed_is_refused_and_never_followed(s3, locate, body):
    s3.put_backup(T1, package("one"))
    s3.put("m2/feed.json", body)
    error = await refused(locate(f"s3://{BUCKET}/m2"))
    assert "feed.json" in error.message


@pytest.mark.parametrize(
    "url",
    [
        "m2/settings/2026/09/setting_20260901T141030000Z.tgz",
        "/m2/settings/2026/09/setting_20260901T141030000Z.tgz",
        "settings/2026/09/setting_20260901T141030000Z.tgz",
        "s3://m2-backups/m2/settings/2026/09/setting_20260901T141030000Z.tgz",
        "https://s3.example/m2-backups/m2/settings/2026/09/setting_20260901T141030000Z.tgz?X-Amz-Expires=1",
        "http://10.0.0.1/download/latest",
        "",
    ],
)
async def test_the_undocumented_form_of_the_url_does_not_matter(s3, locate, url):
    s3.put_backup(T1, package("one"))
    s3.put("m2/feed.json", make_feed(url))
    assert (await locate(f"s3://{BUCKET}/m2").snapshot()).files.read("setting.json") == b"one"


@pytest.mark.parametrize(
    "name",
    [
        "../../other/setting_{}.tgz",
        "2026/11/../../../../other-bucket/setting_{}.tgz",
        "2026/11/a b/setting_{}.tgz",
        "z/setting_{}.tgz",
        "2026/11/ö/setting_{}.tgz",
        "2026/11//setting_{}.tgz",
        "zz/%2e%2e/setting_{}.tgz",
        "setting_{}.tgz",
    ],
)
async def test_keys_that_no_backup_has_are_none(s3, locate, name):
    s3.put_backup(T3, package("backup"))
    s3.put(f"m2/settings/{name.format(T5)}", package("strange"))
    s3.put(f"other/setting_{T5}.tgz", package("elsewhere"))
    s3.requests.clear()
    assert (await locate(f"s3://{BUCKET}/m2").snapshot()).files.read("setting.json") == b"backup"
    assert (await refused(locate(f"s3://{BUCKET}/m2", ref=T5, is_rollback=True))).message
    assert not [one for one in s3.requests if "other" in one.partition("?")[0]]


async def test_many_backups_are_listed_in_pages_and_within_bounds(s3, locate, monkeypatch):
    for minute in range(20):
        s3.put_backup(f"20261001T14{minute:02}30000Z", package(str(minute)), feed=minute == 0)
    source = locate(f"s3://{BUCKET}/m2")
    assert (await source.snapshot()).files.read("setting.json") == b"19"
    monkeypatch.setattr("reconciler.sources.s3.client.MOST_PAGES", 2)
    assert "more than 2,000 objects" in (await refused(locate(f"s3://{BUCKET}/m2", cache="b"))).message


async def test_a_path_without_a_feed_says_what_is_there(s3, locate):
    error = await refused(locate(f"s3://{BUCKET}/m2"))
    assert "neither feed.json nor a backup" in error.message
    key = s3.put_backup(T2, package("two"), feed=False)
    error = await refused(locate(f"s3://{BUCKET}/m2"))
    assert f"s3://{BUCKET}/{key}" in error.remedy


async def test_stray_keys_hide_no_backup(s3, locate):
    key = s3.put_backup(T2, package("two"), feed=False)
    strays = ("9999/99/x", "2099/12/x", "2026/13/x", "2026/10/notes.txt", f"2026/12/{T3}", "latest/12/x")
    for stray in strays:
        s3.put(f"m2/settings/{stray}", b"")
    error = await refused(locate(f"s3://{BUCKET}/m2"))
    assert f"s3://{BUCKET}/{key}" in error.remedy


@pytest.mark.parametrize("day", ["20261131", "20260230", "20269901", "00000101"])
async def test_a_backup_of_no_day_is_none(s3, locate, day):
    no_day = f"m2/settings/2026/11/setting_{day}T141030000Z.tgz"
    s3.put(no_day, package("stray"))
    s3.put_backup(T1, package("one"))
    assert (await locate(f"s3://{BUCKET}/m2").snapshot()).files.read("setting.json") == b"one"
    s3.put_feed(no_day)
    found = await locate(f"s3://{BUCKET}/m2", cache="another").snapshot()
    assert found.files.read("setting.json") == b"one"


async def test_a_rollback_names_a_backup_by_its_time_or_its_revision(s3, locate):
    s3.put_backup(T1, package("one"))
    first = await locate(f"s3://{BUCKET}/m2").snapshot()
    s3.put_backup(T2, package("two"))
    s3.put_backup(T3, package("three"))
    name = f"setting_{T1}.tgz"
    for named in (T1, T1.lower(), T1[:8], name, first.revision.id, first.revision.short):
        found = await locate(f"s3://{BUCKET}/m2", ref=named, is_rollback=True).snapshot()
        assert found.revision.id == first.revision.id
        fresh = locate(f"s3://{BUCKET}/m2", ref=named, is_rollback=True, cache=f"c{named}")
        assert (await fresh.snapshot()).files.read("setting.json") == b"one"
    error = await refused(locate(f"s3://{BUCKET}/m2", ref="202609", is_rollback=True))
    assert T1 in error.message
    assert "several" in error.message
    error = await refused(locate(f"s3://{BUCKET}/m2", ref="abcdef99", is_rollback=True))
    assert "no backup abcdef99" in error.message
    error = await refused(locate(f"s3://{BUCKET}/m2", ref="settings", is_rollback=True))
    assert "no backup settings" in error.message
    async with locate(f"s3://{BUCKET}/m2").open_first_parents(first.revision.id, 1) as line:
        assert [one.revision.id for one in line] == [first.revision.id]
    async with locate(f"s3://{BUCKET}/m2").open_first_parents("0" * 64, 1) as line:
        assert list(line) == []


async def test_a_revision_is_never_taken_from_a_package_that_was_written_over(s3, locate):
    key = s3.put_backup(T1, package("one"))
    first = await locate(f"s3://{BUCKET}/m2").snapshot()
    s3.put_backup(T2, package("two"))
    s3.put(key, package("another one, under the old name"))
    error = await refused(locate(f"s3://{BUCKET}/m2", ref=first.revision.id, is_rollback=True))
    assert "has no backup" in error.message
    async with locate(f"s3://{BUCKET}/m2").open_first_parents(first.revision.id, 1) as line:
        assert list(line) == []


async def test_backups_may_be_at_the_top_of_a_bucket(s3, locate):
    key = f"settings/2026/09/setting_{T1}.tgz"
    s3.put(key, package("one"))
    s3.put("feed.json", make_feed(f"https://{BUCKET}.s3.amazonaws.com/{key}"))
    for text in (f"s3://{BUCKET}", f"s3://{BUCKET}/"):
        found = await locate(text).snapshot()
        assert found.files.read("setting.json") == b"one"
        assert found.revision.source == f"s3://{BUCKET}"


ELSEWHERE = {"x-amz-bucket-region": "us-west-2"}
REGION_ELEMENT = "<Region>us-west-2</Region>"
XML = "<Error><Code>{}</Code><Message>SERVER-WORDS</Message>{}</Error>"


@pytest.mark.parametrize(
    ("answer", "words", "remedy"),
    [
        ((403, XML.format("AccessDenied", ""), {}), "may not read", "s3:GetObject"),
        ((403, XML.format("InvalidAccessKeyId", ""), {}), "does not know", "check the keys"),
        ((400, XML.format("ExpiredToken", ""), {}), "expired", "all three"),
        ((400, XML.format("InvalidToken", ""), {}), "session token", "temporary"),
        ((404, XML.format("NoSuchBucket", ""), {}), "there is no bucket m2-backups", "endpoint"),
        ((404, XML.format("NoSuchKey", ""), {}), "does not exist", "check bucket and path"),
        ((301, XML.format("PermanentRedirect", ""), ELSEWHERE), "in the region us-west-2", "us-west-2"),
        ((307, XML.format("TemporaryRedirect", ""), {"Location": "http://x/"}), "not followed", "region"),
        ((400, XML.format("AuthorizationHeaderMalformed", REGION_ELEMENT), {}), "us-west-2", "us-west-2"),
        ((403, XML.format("InvalidObjectState", ""), {}), "archive", "restore"),
        ((404, "<html>SERVER-WORDS</html>", {}), "does not exist", "list the bucket"),
        ((400, "SERVER-WORDS", {}), "not as S3 does", "endpoint"),
        ((418, XML.format("SomethingNew", ""), {}), "418 (SomethingNew)", "endpoint"),
        ((400, XML.format("\x1b[31mRed", ""), {}), "not as S3 does", "endpoint"),
        ((405, "", {}), "405", "endpoint"),
    ],
)  # fmt: skip
async def test_each_refusal_has_its_meaning_and_a_remedy(s3, locate, answer, words, remedy):
    s3.fail = lambda method, target: answer
    error = await refused(locate(f"s3://{BUCKET}/m2/x.tgz"))
    assert not isinstance(error, SourceUnreachable)
    assert words in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (502, ""), (429, "")]
)
async def test_a_busy_server_is_asked_again_later(s3, locate, status, code):
    s3.fail = lambda method, target: (status, XML.format(code, ""), {})
    assert isinstance(await refused(locate(f"s3://{BUCKET}/m2/x.tgz")), SourceUnreachable)


async def test_a_clock_that_is_wrong_is_named_with_the_difference(s3, locate):
    s3.clock = timedelta(minutes=42)
    error = await refused(locate(f"s3://{BUCKET}/m2/x.tgz"))
    assert "42 minutes behind the server" in error.message
    assert "NTP" in error.remedy


async def test_wrong_keys_and_a_wrong_region_are_told_apart(s3, locate):
    s3.put("x.tgz", package("one"))
    wrong = ENVIRONMENT | {"RECONCILE_AWS_SECRET_ACCESS_KEY": "wrong/secret"}
    error = await refused(locate(f"s3://{BUCKET}/x.tgz", environment=wrong))
    assert "the secret access key of `aws.backups` is not that of its access key id" in error.message
    account = make_account(s3.endpoint, region="us-east-1")
    assert "region: eu-central-1" in (await refused(locate(f"s3://{BUCKET}/x.tgz", account=account))).remedy
    error = await refused(locate(f"s3://{BUCKET}/x.tgz", environment={}))
    assert "has no keys" in error.message
    assert isinstance(error, UsageError)


async def test_a_server_that_is_no_s3_or_away_is_told_as_such(s3, locate):
    s3.fail = lambda method, target: (200, "<html>SERVER-WORDS</html>", {})
    error = await refused(locate(f"s3://{BUCKET}/m2", ref="20260101", is_rollback=True))
    assert "something else than a list" in error.message
    away = make_account("http://127.0.0.1:9")
    assert "cannot be reached" in (await refused(locate(f"s3://{BUCKET}/x.tgz", account=away))).message


async def test_a_list_that_never_ends_or_repeats_itself_is_cut(s3, locate):
    start = '<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated>'
    s3.fail = lambda method, target: (
        (200, f"{start}</ListBucketResult>", {}) if "list-type" in target else None
    )
    error = await refused(locate(f"s3://{BUCKET}/m2", ref="20260101", is_rollback=True))
    assert "not how it continues" in error.message
    token = "<NextContinuationToken>same</NextContinuationToken></ListBucketResult>"
    s3.fail = lambda method, target: (200, start + token, {}) if "list-type" in target else None
    s3.requests.clear()
    await refused(locate(f"s3://{BUCKET}/m2", ref="20260101", is_rollback=True))
    assert len(s3.requests) == 2


async def test_a_package_that_is_too_large_or_cut_is_refused(s3, locate, monkeypatch):
    s3.put("m2/feed.json", b" " * 70_000)
    assert "is larger than" in (await refused(locate(f"s3://{BUCKET}/m2"))).message
    s3.fail = lambda method, target: (200, "", {"Content-Length": "100"})
    source = locate(f"s3://{BUCKET}/x.tgz")
    source._client._seconds = 0.5
    assert isinstance(await refused(source), SourceUnreachable)


async def test_a_server_without_etags_works(s3, locate):
    s3.etags = False
    s3.put_backup(T1, package("one"))
    source = locate(f"s3://{BUCKET}/m2")
    first = await source.snapshot()
    assert (await source.snapshot()).revision == first.revision


async def test_a_package_without_the_demanded_digest_is_refused(s3, locate):
    s3.put("x.tgz", package("one"))
    assert "digest" in (await refused(locate(f"s3://{BUCKET}/x.tgz", sha256="0" * 64))).message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://unknown-bucket/x.tgz", "may not read the bucket unknown-bucket"),
        ("s3:///x.tgz", "not that of an object"),
        ("s3://user:secret@m2-backups/x.tgz", "not that of an object"),
        ("s3://m2-backups:80/x.tgz", "not that of an object"),
        ("s3://m2-backups/x.tgz?versionId=1", "not that of an object"),
        ("s3://m2-backups/a/../x.tgz", "a path that no backup has"),
        ("s3://m2-backups//x.tgz", "a path that no backup has"),
        ("s3://m2-backups/\nx.tgz", "control characters"),
        ("s3://m2-backups/" + "x" * 1100, "a path that no backup has"),
    ],
)
def test_an_address_that_is_none_or_not_allowed_is_refused_before_anything_is_asked(locate, text, words):
    with pytest.raises(UsageError, match=words) as caught:
        locate(text)
    assert caught.value.remedy or words == "control characters"
    assert "secret" not in f"{caught.value.message}{caught.value.remedy}"


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("s3://m2-backups/x.tgz", {"ref": "main"}, "--ref requires a git repository"),
        ("s3://m2-backups/m2", {"ref": "main"}, "--ref requires a git repository"),
        ("s3://m2-backups/m2", {"sha256": "0" * 64}, "--sha256 requires a tarball"),
        ("s3://m2-backups/m2", {"saved": True}, "--uncommitted"),
    ],
)
def test_options_that_do_not_apply_are_refused(locate, text, options, words):
    with pytest.raises(UsageError, match=words):
        locate(text, **options)


@pytest.mark.parametrize(
    ("account", "bucket", "url"),
    [
        (make_account(), BUCKET, "https://m2-backups.s3.eu-central-1.amazonaws.com/a%20b"),
        (
            make_account(region="cn-north-1"),
            BUCKET,
            "https://m2-backups.s3.cn-north-1.amazonaws.com.cn/a%20b",
        ),
        (
            make_account(s3=S3Rules(buckets=("a.b",))),
            "a.b",
            "https://s3.eu-central-1.amazonaws.com/a.b/a%20b",
        ),
        (
            make_account(s3=S3Rules(buckets=(BUCKET,), path_style=True)),
            BUCKET,
            "https://s3.eu-central-1.amazonaws.com/m2-backups/a%20b",
        ),
        (
            make_account(s3=S3Rules(buckets=(BUCKET,), endpoint="https://storage.example.com:9000")),
            BUCKET,
            "https://m2-backups.storage.example.com:9000/a%20b",
        ),
        (make_account("https://storage.example.com"), BUCKET, "https://storage.example.com/m2-backups/a%20b"),
    ],
)
def test_where_a_bucket_is_reached(account, bucket, url):
    assert parse_s3_location(f"s3://{bucket}/a b", {"a": account}).url == url


async def test_a_bucket_in_the_name_of_the_host_is_signed_as_such(tmp_path, monkeypatch):
    seen = []

    def answer(request):
        headers = dict(request.headers.items())
        seen.append(headers["host"])
        target = request.url.raw_path.decode()
        assert find_fault("GET", target, headers, b"", keys=Keys(), region=REGION) == ""
        return httpx.Response(200, stream=httpx.ByteStream(package("one")))

    @asynccontextmanager
    async def open_download_client(environment):
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            yield client

    monkeypatch.setattr("reconciler.sources.s3.client.open_download_client", open_download_client)
    account = make_account(s3=S3Rules(buckets=(BUCKET,), endpoint="https://storage.example.com:9000"))
    source = locate_source(
        f"s3://{BUCKET}/x.tgz", cache=tmp_path, environment=ENVIRONMENT, accounts={"a": account}
    )
    assert (await source.snapshot()).files.read("setting.json") == b"one"
    assert seen == ["m2-backups.storage.example.com:9000"]


def test_without_a_host_configuration_no_bucket_is_read(tmp_path):
    with pytest.raises(UsageError, match="no account in `aws`"):
        locate_source("s3://m2-backups/x.tgz", cache=tmp_path)
