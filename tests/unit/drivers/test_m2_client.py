"""What the M2 client makes of odd answers, over real HTTP to a server that gives nothing else."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from support.m2_wire import BASE, content, setting

from reconciler.core.observation import Absent, Present, Unauthorized, Unidentified, Unreachable
from reconciler.core.plan import Payload
from reconciler.drivers.m2.client import Client
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.package import compute_digests, list_held_files, pack_tgz
from reconciler.drivers.m2.schema import ExpectedSetting
from reconciler.drivers.m2.shared_contents import SharedContents
from reconciler.errors import NodeRefused, NodeUnauthorized, NodeUnreachable
from reconciler.transports.http import HttpTransport

NOTHING = ExpectedSetting("")
SETTING = "/setting/setting.json"
METRICS_PATH = "/metrics"
RUNNING = "/get/setting/running"
ARTIFACT = "/get/setting/artifact"
DOWNLOAD = "/setting/download"
MEMORY = "env.properties.memoryUsage"
OK = {"version": "1.1.0", "method": "reloadall", "status": "OK", "result": "accepted"}


def reply(value, status=200):
    body = json.dumps(value).encode()
    return lambda _: web.Response(status=status, body=body, content_type="application/json")


@asynccontextmanager
async def node(paths, *, timeout=5.0, elsewhere=()):
    """A client of a node that answers some paths, everything else with 404; and what it was asked."""
    asked = []

    async def answer(request):
        asked.append((request.method, request.path, await request.read(), request.headers))
        found = paths.get(request.path, web.Response(status=404))
        if found == "close":
            request.transport.close()
            return web.Response()
        if found == "silence":
            await asyncio.sleep(timeout * 4)
            return web.Response()
        if found == "half":
            half = web.StreamResponse(headers={"Content-Length": "1000"})
            await half.prepare(request)
            await half.write(b'{"meta":')
            request.transport.close()
            return half
        return found(request) if callable(found) else found

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with HttpTransport() as wire:
            yield Client(wire, "edge-01", (*elsewhere, base), timeout, 1.0), asked
    finally:
        await runner.cleanup()


async def read(paths, *, expected=NOTHING, resources=False, trusted=False, **more):
    async with node(paths, **more) as (client, _):
        return await client.read(
            SharedContents(ContentCache()), expected=expected, resources=resources, trusted=trusted
        )


@pytest.mark.parametrize("status", [401, 403])
async def test_no_permission_is_no_answer_about_the_setting(status):
    found = await read({SETTING: web.Response(status=status)})
    assert isinstance(found, Unauthorized)
    assert str(status) in found.reason


async def test_a_denial_of_another_server_is_quoted_with_the_url_that_was_asked():
    page = web.Response(status=403, text="<h1>Forbidden</h1>", content_type="text/html")
    async with node({SETTING: page}) as (client, _):
        found = await client.read(SharedContents(ContentCache()), expected=NOTHING, resources=False)
        place = client.bases[0]
    assert found == Unauthorized(
        f"this host may not read its setting (403): {place}/setting/setting.json answered 403, text/html, "
        f'beginning "<h1>Forbidden</h1>"'
    )


async def test_a_denial_in_the_form_of_m2_is_the_nodes_own():
    found = await read({SETTING: reply({**REFUSAL, "result": "Unauthorized"}, 401)})
    assert isinstance(found, Unauthorized)
    assert found.reason.startswith("this host may not read its setting (401 of http://")


REFUSAL = {"version": "1.1.0", "method": "setting", "status": "Fail", "result": "not loaded"}
METRICS = b"# TYPE m2_sys_setting_reload counter\nm2_sys_setting_reload_total 0\n# EOF\n"


@pytest.mark.parametrize("answer", ["", "404 page not found", "<h1>Not Found</h1>", "{}"])
async def test_404_with_metrics_of_m2_is_a_node_without_a_setting(answer):
    paths = {SETTING: web.Response(status=404, text=answer), METRICS_PATH: web.Response(body=METRICS)}
    async with node(paths) as (client, _):
        found = await client.read(SharedContents(ContentCache()), expected=NOTHING, resources=False)
        assert found == Absent(found.evidence, client.bases[0])


async def test_404_in_the_form_of_m2_is_a_node_without_a_setting():
    assert isinstance(await read({SETTING: reply(REFUSAL, 404)}), Absent)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: web.Response(status=404),
        lambda _: web.Response(status=404, text="404 page not found\n"),
        lambda _: web.Response(status=404, text="<h1>Not Found</h1>", content_type="text/html"),
        reply({"status": "Fail"}, 404),
        reply({"error": "not found", "status": 404}, 404),
        reply({**REFUSAL, "status": "OK"}, 404),
    ],
)
@pytest.mark.parametrize("metrics", [404, 401, b"# EOF\n", b'm2_sys_setting_reload_total{instance="a"} 1\n'])
async def test_404_of_another_server_is_no_node_without_a_setting(answer, metrics):
    def answer_metrics(_):
        return web.Response(body=metrics) if isinstance(metrics, bytes) else web.Response(status=metrics)

    async with node({SETTING: answer, METRICS_PATH: answer_metrics}) as (client, _):
        found = await client.read(SharedContents(ContentCache()), expected=NOTHING, resources=False)
        assert isinstance(found, Unidentified)
        assert found.vacant
        assert f"{client.bases[0]}{SETTING} answered 404" in found.reason
        assert client.bases[0] in found.reason
        assert "correct its address (host and port)" in found.remedy
        trusted = await client.read(
            SharedContents(ContentCache()), expected=NOTHING, resources=False, trusted=True
        )
        assert trusted == Absent(trusted.evidence, "")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"status": "ok"},
        REFUSAL,
        {**REFUSAL, "hosting": [{"name": "www"}]},
        {"meta": {"version": "B"}},
        {"env": {"HOME": "/root"}, "status": "ok"},
        {"env": "production"},
        {"meta": 7, "env": [], "hosting": "x"},
        {"meta": {}, "data": []},
        {"hosting": ["www"]},
    ],
)
async def test_an_object_that_is_no_setting_is_no_observation(value):
    found = await read({SETTING: reply(value)})
    assert isinstance(found, Unidentified)
    assert not found.vacant
    trusted = await read({SETTING: reply(value)}, trusted=True)
    assert isinstance(trusted, Unidentified), "the word is for a node that shows no setting"


async def test_the_values_of_an_object_that_is_no_setting_are_not_quoted():
    found = await read({SETTING: reply({"password": "hunter2"})})
    assert "password" in found.reason
    assert "hunter2" not in found.reason


async def test_documented_keys_and_metrics_of_m2_make_a_setting():
    paths = {SETTING: reply({"meta": {"version": "B"}}), METRICS_PATH: web.Response(body=METRICS)}
    found = await read(paths)
    assert isinstance(found, Present)
    assert found.value.content.version == "B"


async def test_a_node_is_found_at_its_next_address_behind_another_server():
    async with (
        node({}) as (stranger, _),
        node({SETTING: reply(BASE)}, elsewhere=stranger.bases) as (client, _),
    ):
        found = await client.read(SharedContents(ContentCache()), expected=NOTHING, resources=False)
        assert found.value.base == client.bases[1]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (web.Response(status=500, text="oops"), "500"),
        (web.Response(status=302, headers={"Location": "/"}), "302"),
        (web.Response(text="<html>login</html>", content_type="text/html"), "not JSON"),
        (web.Response(body=b""), "not JSON"),
        (web.Response(body=b"[1]"), "not an object"),
        (web.Response(body=b"null"), "not an object"),
        (web.Response(body=b'{"meta": {"version": NaN}}'), "not JSON"),
        (web.Response(body=b'{"a":' * 600 + b"1" + b"}" * 600), "deeper"),
        (web.Response(body=b'{"a":' * 100_000), "deeper"),
        (web.Response(body=b'{"a": "\\ud800"}'), "not Unicode"),
        ("half", "in the middle of its answer"),
        ("close", "; possible causes: the node's allowList has no entry for this host"),
        ("silence", "no answer within"),
    ],
)
async def test_an_answer_that_is_no_setting_leaves_the_node_unidentified(answer, words):
    found = await read({SETTING: answer}, timeout=0.4 if answer == "silence" else 5.0)
    assert isinstance(found, Unreachable if isinstance(answer, str) else Unidentified)
    assert words in found.reason


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (b'{"meta": {"version": 1, "version": "B"}, ENV}', "B"),
        (b'\xef\xbb\xbf{"meta": {"version": "B"}, ENV}', "B"),
        (b'{"meta": {"version": 1e400000000}, "x": 1, ENV}', None),
        (b'{"meta": {"version": 123456789012345678901234567890}, ENV}', "123456789012345678901234567890"),
    ],
)
async def test_odd_but_readable_settings_are_read(body, version):
    body = body.replace(b"ENV", b'"env": {"management": {}}')
    found = await read({SETTING: web.Response(body=body)})
    if version is None:
        assert isinstance(found, Unidentified)
    else:
        assert isinstance(found, Present)
        assert found.value.content.version == version


async def test_a_node_that_has_what_it_should_is_asked_twice():
    paths = {SETTING: reply(BASE), RUNNING: reply(BASE)}
    async with node(paths) as (client, asked):
        found = await client.read(
            SharedContents(ContentCache()), expected=ExpectedSetting(content().fingerprint), resources=False
        )
    assert found.value.waiting == ()
    assert [path for _, path, *_ in asked] == [SETTING, RUNNING]


async def test_a_delivered_field_that_is_not_in_effect_waits():
    wanted = setting(env__properties__memoryUsage=70)
    found = await read(
        {SETTING: reply(wanted), RUNNING: reply(BASE)},
        expected=ExpectedSetting(content(wanted).fingerprint),
    )
    assert found.value.waiting == (MEMORY,)
    assert found.value.shows(ExpectedSetting(content(wanted).fingerprint))


async def test_a_node_that_shows_the_setting_in_effect_is_asked_for_the_delivered_one():
    wanted = setting(env__properties__memoryUsage=70)
    paths = {SETTING: reply(BASE), RUNNING: reply(BASE), ARTIFACT: reply(wanted)}
    found = await read(paths, expected=ExpectedSetting(content(wanted).fingerprint))
    assert found.value.waiting == (MEMORY,)
    assert found.value.content.fingerprint == content().fingerprint
    assert found.value.shows(ExpectedSetting(content(wanted).fingerprint))


@pytest.mark.parametrize("answer", [web.Response(status=401), web.Response(status=500), "close", "half"])
async def test_without_the_other_reads_what_waits_is_unknown(answer):
    found = await read(
        {SETTING: reply(BASE), RUNNING: answer}, expected=ExpectedSetting(content().fingerprint)
    )
    assert isinstance(found, Present)
    assert found.value.waiting is None


async def test_the_package_is_asked_for_only_where_files_are_in_question():
    resources = {"certs/a.pem": b"A"}
    whole = pack_tgz(Payload(BASE, resources))

    def package(_):
        return web.Response(body=whole, content_type="application/x-compressed")

    paths = {SETTING: reply(BASE), RUNNING: reply(BASE), DOWNLOAD: package}
    here = ExpectedSetting(content().fingerprint)
    assert (await read(paths, expected=here, resources=True)).value.held == compute_digests(resources)
    assert (await read(paths, expected=here)).value.held is None
    assert (await read(paths, expected=ExpectedSetting("another"), resources=True)).value.held is None


@pytest.mark.parametrize(
    "answer", [web.Response(status=406), web.Response(status=404), web.Response(body=b"no tgz"), "half"]
)
async def test_a_package_that_is_not_shown_is_unknown(answer):
    paths = {SETTING: reply(BASE), RUNNING: reply(BASE), DOWNLOAD: answer}
    assert (
        await read(paths, expected=ExpectedSetting(content().fingerprint), resources=True)
    ).value.held is None


async def test_a_node_is_tried_at_each_of_its_urls():
    found = await read({SETTING: reply(BASE)}, elsewhere=("http://127.0.0.1:9",))
    assert found.value.base != "http://127.0.0.1:9"


async def test_where_nothing_answers_the_reason_is_that_of_the_first_url():
    async with HttpTransport() as wire:
        client = Client(wire, "edge-01", ("http://127.0.0.1:9", "nonsense"), 2.0, 1.0)
        found = await client.read(SharedContents(ContentCache()), expected=NOTHING, resources=False)
    assert found.reason.startswith("connection refused (http://")


async def test_an_upload_of_a_setting_alone_is_json():
    async with node({"/setting/upload": reply(OK)}) as (client, asked):
        done = await client.upload(Payload(BASE), "settingFile")
    ((method, _, body, headers),) = asked
    assert (method, json.loads(body)) == ("POST", BASE)
    assert headers["Content-Type"] == "application/json"
    assert int(headers["Content-Length"]) == len(body)
    assert headers["Connection"] == "close"
    assert "accepted" in done.text


async def test_an_upload_with_files_is_one_part_of_a_form():
    resources = {"certs/a.pem": b"A", "certs/b.pem": b"B"}
    seen = {}

    async def take(request):
        form = await request.post()
        seen.update({name: (field.filename, field.file.read()) for name, field in form.items()})
        return reply(OK)(request)

    app = web.Application()
    app.router.add_post("/setting/upload", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with HttpTransport() as wire:
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        await Client(wire, "edge-01", (base,), 5.0, 1.0).upload(Payload(BASE, resources), 'their"s')
    await runner.cleanup()
    ((name, (filename, package)),) = seen.items()
    assert name in {'their"s', "their%22s"}
    assert filename.endswith(".tgz")
    assert list_held_files(package) == compute_digests(resources)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_checkout_is_asked_for_once_even_if_its_answer_is_lost(method):
    async with node({"/setting/deploy/checkout": "close"}) as (client, asked):
        with pytest.raises(NodeUnreachable):
            await client.checkout(method)
    assert [(verb, path) for verb, path, *_ in asked] == [(method, "/setting/deploy/checkout")]


async def test_a_local_deployment_believes_its_body_not_its_status():
    fail = {**OK, "status": "Fail", "result": "there is no local setting.json"}
    async with node({"/setting/deploy/local": reply(fail)}) as (client, _):
        with pytest.raises(NodeRefused) as caught:
            await client.deploy_local()
    assert (caught.value.status, caught.value.code) == (200, "Fail")
    assert "there is no local setting.json" in caught.value.reason


@pytest.mark.parametrize("status", ["OK", "ok", None])
async def test_a_status_ok_is_accepted_in_several_spellings(status):
    body = {key: value for key, value in {**OK, "status": status}.items() if value is not None}
    async with node({"/setting/deploy/local": reply(body)}) as (client, _):
        assert (await client.deploy_local()).text.startswith("200")


async def test_waiting_fields_of_an_answer_are_kept():
    waiting = [{"field": MEMORY, "cur": 60, "new": 70}, "env.rt.properties", {"new": 1}, 7]
    async with node({"/setting/upload": reply({**OK, "notupdated": waiting})}) as (client, _):
        done = await client.upload(Payload(BASE), "settingFile")
    assert done.waiting_for_restart == (MEMORY, "env.rt.properties")


@pytest.mark.parametrize(
    ("answer", "status", "code", "words"),
    [
        (
            reply({**OK, "status": "Fail", "result": "E0004 port is not a port"}, 500),
            500,
            "E0004",
            "content",
        ),
        (reply({**OK, "status": "Fail", "result": "E0002 bad"}, 500), 500, "E0002", "unpack"),
        (reply({**OK, "status": "OK", "result": "E0003"}), 200, "E0003", "load"),
        (web.Response(status=500), 500, "", "500"),
        (web.Response(status=413, text="too large"), 413, "", "too large"),
        (web.Response(status=307, headers={"Location": "/"}), 307, "", "307"),
    ],
)
async def test_a_refusal_explains_its_code(answer, status, code, words):
    async with node({"/setting/upload": answer}) as (client, _):
        with pytest.raises(NodeRefused) as caught:
            await client.upload(Payload(BASE), "settingFile")
    assert (caught.value.status, caught.value.code, caught.value.node) == (status, code, "edge-01")
    assert words in caught.value.reason


async def test_a_status_ok_with_a_code_of_success_is_no_refusal():
    async with node({"/setting/upload": reply({**OK, "result": "E0000"})}) as (client, _):
        assert (await client.upload(Payload(BASE), "settingFile")).text


async def test_a_change_without_permission_has_a_remedy():
    async with node({"/setting/upload": web.Response(status=401)}) as (client, _):
        with pytest.raises(NodeUnauthorized) as caught:
            await client.upload(Payload(BASE), "settingFile")
    assert "enableSetting" in caught.value.remedy


async def test_text_from_a_node_is_one_short_line():
    noise = web.Response(status=500, body=b"\x1b[31mred\n\x00" + b"x" * 10_000)
    async with node({"/setting/upload": noise}) as (client, _):
        with pytest.raises(NodeRefused) as caught:
            await client.upload(Payload(BASE), "settingFile")
    assert len(caught.value.reason) < 500
    assert caught.value.reason.isprintable()


async def ask(paths, **more):
    async with node(paths) as (client, asked):
        found = await client.read(SharedContents(ContentCache()), resources=False, **more)
        return found, [path for _, path, *_ in asked]


OLD, NEW, OTHER = (content(setting(meta__version=version)) for version in ("A", "B", "C"))


@pytest.mark.parametrize("delivered", ["A", "B"])
async def test_a_step_is_settled_by_what_was_delivered_last_alone(delivered):
    planned = frozenset({OLD.fingerprint, NEW.fingerprint})
    paths = {ARTIFACT: reply(setting(meta__version=delivered)), SETTING: reply(setting(meta__version="A"))}
    found, asked = await ask(paths, expected=ExpectedSetting(NEW.fingerprint), planned=planned)
    assert found.value.content.version == delivered
    assert asked == [ARTIFACT]


@pytest.mark.parametrize(
    "artifact",
    [
        web.Response(status=401),
        reply(REFUSAL, 500),
        reply({"meta": {"version": "A"}}),
        web.Response(text="nothing"),
        reply(setting(meta__version="C")),
    ],
)
async def test_any_other_artifact_settles_no_step(artifact):
    planned = frozenset({OLD.fingerprint, NEW.fingerprint})
    paths = {
        SETTING: reply(setting(meta__version="A")),
        ARTIFACT: lambda _: artifact(_) if callable(artifact) else artifact,
    }
    found, asked = await ask(paths, expected=ExpectedSetting(NEW.fingerprint), planned=planned)
    assert found.value.content.fingerprint == OLD.fingerprint
    assert asked[:2] == [ARTIFACT, SETTING]


async def test_a_node_that_is_away_is_asked_once_for_a_step():
    found, asked = await ask({ARTIFACT: "close"}, expected=NOTHING, planned=frozenset({"a"}))
    assert isinstance(found, Unreachable)
    assert set(asked) == {ARTIFACT}


def changed(pointer, value):
    document = setting(meta__version="B")
    part = document
    *above, last = pointer
    for key in above:
        part = part.setdefault(key, {})
    part[last] = value
    return content(document)


@pytest.mark.parametrize(
    ("wanted", "asks"),
    [
        (changed(("env", "management", "api", "port"), 10050), False),
        (changed(("hosting",), [{"name": "www.example.com"}]), False),
        (changed(("env", "network", "http"), {"maxConnections": 7}), True),
        (changed(("env", "properties", "memoryUsage"), 7), True),
        (changed(("env", "network"), "closed"), True),
        (NEW, True),  # it is not documented which version is shown while a part waits
    ],
)
async def test_the_artifact_is_not_read_where_the_wanted_setting_cannot_wait(wanted, asks):
    paths = dict.fromkeys((SETTING, RUNNING, ARTIFACT), reply(setting(meta__version="A")))
    expected = ExpectedSetting(wanted.fingerprint)
    found, asked = await ask(paths, expected=expected, wanted=wanted)
    assert asked == [SETTING, RUNNING, *([ARTIFACT] if asks else [])]
    assert found.value.waiting == ()
    _, without = await ask(paths, expected=expected)
    assert without == [SETTING, RUNNING, ARTIFACT]
