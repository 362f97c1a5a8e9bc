"""The login with a provider that lies in every way: nobody gets in."""

import asyncio
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from support.openid_provider import CLIENT, FOREIGN, ISSUER, NOW, Provider, make_login, oidc_challenge

from reconciler.server.access import oidc_login
from reconciler.server.access.oidc_login import LoginFailed, ProvenUser


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Begin and finish a login at a provider; `change` changes what the browser comes back with."""

    async def run(provider, change=None, kept=None, **entry):
        login, clock = make_login(provider, monkeypatch, tmp_path, **entry)
        url, begun = await login.begin("/clusters")
        answer = provider.log_in(url)
        if change:
            answer = {name: value for name, value in {**answer, **change}.items() if value is not None}
        return await login.finish(answer, replace(begun, **(kept or {}))), login, clock

    return run


async def test_a_user_is_named_with_groups(begin):
    assert (await begin(Provider()))[0] == ProvenUser("kim@example.com", ("ops",))


async def test_the_browser_is_sent_with_state_nonce_and_challenge_that_are_new_each_time(
    monkeypatch, tmp_path
):
    login, _ = make_login(Provider(), monkeypatch, tmp_path)
    seen = []
    for _ in range(2):
        url, begun = await login.begin("/")
        found = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(f"{ISSUER}/auth?")
        assert found["redirect_uri"] == "https://fleet.example.com/login/callback"
        assert (found["response_type"], found["code_challenge_method"]) == ("code", "S256")
        assert found["code_challenge"] == oidc_challenge(begun.verifier)
        assert (found["state"], found["nonce"]) == (begun.state, begun.nonce)
        assert begun.verifier not in url
        assert "s3cret" not in url
        seen += [begun.state, begun.nonce, begun.verifier]
    assert len(set(seen)) == 6


ATTACKS = {
    "wrong nonce": Provider({"nonce": "other"}),
    "no nonce": Provider({"nonce": None}),
    "another issuer": Provider({"iss": "https://evil.example"}),
    "no issuer": Provider({"iss": None}),
    "for another client": Provider({"aud": "other"}),
    "for several clients": Provider({"aud": [CLIENT, "other"]}),
    "asked for by another client": Provider({"aud": [CLIENT, "other"], "azp": "other"}),
    "no audience": Provider({"aud": None}),
    "expired": Provider({"exp": NOW - 61}),
    "no end": Provider({"exp": None}),
    "of the future": Provider({"iat": NOW + 3600}),
    "end is a text": Provider({"exp": "never"}),
    "no subject": Provider({"sub": None}),
    "alg none": Provider(header={"alg": "none"}),
    "alg HS256 with the public key": Provider(header={"alg": "HS256"}),
    "foreign key": Provider(keys=FOREIGN),
    "unknown key": Provider(header={"kid": "two"}, keys=FOREIGN),
    "email not verified": Provider({"email_verified": False}),
    "email perhaps verified": Provider({"email_verified": "true"}),
    "no word of verification": Provider({"email_verified": None}),
    "no name": Provider({"email": None}),
    "name is a list": Provider({"email": ["kim"]}),
    "name with a line break": Provider({"email": "kim\nroot"}),
    "name too long": Provider({"email": "k" * 201}),
    "groups are a text": Provider({"groups": "ops"}),
    "a group is a number": Provider({"groups": ["ops", 1]}),
    "too many groups": Provider({"groups": ["g"] * 501}),
    "description of another issuer": Provider(description={"issuer": "https://evil.example"}),
    "plain token endpoint": Provider(description={"token_endpoint": "http://login.example.com/token"}),
    "no token endpoint": Provider(description={"token_endpoint": None}),
    "endpoint is a number": Provider(description={"jwks_uri": 1}),
    "script as endpoint": Provider(description={"authorization_endpoint": "javascript:alert(1)"}),
    "user info of another user": Provider({"groups": None}, info={"sub": "u2", "groups": ["ops"]}),
    "plain user info": Provider(
        {"groups": None}, info={"sub": "u1"}, description={"userinfo_endpoint": "http://login.example.com/me"}
    ),
    "description is no object": Provider(
        raw={"/.well-known/openid-configuration": httpx2.Response(200, json=[])}
    ),
    "description is deep": Provider(
        raw={"/.well-known/openid-configuration": httpx2.Response(200, content=b"[" * 100_000)}
    ),
    "description is too large": Provider(
        raw={"/.well-known/openid-configuration": httpx2.Response(200, content=b" " * 2_000_000 + b"{}")}
    ),
    "description elsewhere": Provider(
        raw={
            "/.well-known/openid-configuration": httpx2.Response(
                302, headers={"location": "https://evil.example/"}
            )
        }
    ),
    "keys are compressed": Provider(
        raw={
            "/keys": httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=httpx2.ByteStream(b""))
        }
    ),
    "keys are no keys": Provider(raw={"/keys": httpx2.Response(200, json={"keys": [{"kty": "?"}]})}),
    "keys fail": Provider(raw={"/keys": httpx2.Response(500)}),
    "token answer is a page": Provider(raw={"/token": httpx2.Response(200, content=b"<html>")}),
    "token answer is a list": Provider(raw={"/token": httpx2.Response(200, json=[])}),
    "token answer is an error": Provider(raw={"/token": httpx2.Response(503, content=b"away")}),
    "no id token": Provider(raw={"/token": httpx2.Response(200, json={"access_token": "a"})}),
    "id token is no token": Provider(
        raw={"/token": httpx2.Response(200, json={"access_token": "a", "id_token": "x.y.z"})}
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_what_a_provider_says_wrong_logs_nobody_in(begin, attack):
    with pytest.raises(LoginFailed) as caught:
        await begin(ATTACKS[attack])
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"state": "other"}, {}),
        ({"state": None}, {}),
        ({"state": ""}, {"state": ""}),
        ({"iss": "https://evil.example"}, {}),
        ({"iss": None}, {}),
        ({"code": "guessed"}, {}),
        ({"code": None}, {}),
        ({"error": "access_denied"}, {}),
        ({}, {"verifier": "of-another-login"}),
        ({}, {"nonce": "of-another-login"}),
        ({}, {"state": "of-another-login"}),
    ],
)
async def test_a_browser_comes_back_with_the_answer_to_its_own_login(begin, change, kept):
    with pytest.raises(LoginFailed):
        await begin(Provider(), change, kept)


async def test_a_code_counts_once(monkeypatch, tmp_path):
    provider = Provider()
    login, _ = make_login(provider, monkeypatch, tmp_path)
    url, begun = await login.begin("/")
    answer = provider.log_in(url)
    await login.finish(answer, begun)
    with pytest.raises(LoginFailed, match="invalid_grant"):
        await login.finish(answer, begun)


async def test_a_provider_that_names_itself_in_no_answer_may_leave_it_out(begin):
    provider = Provider(description={"authorization_response_iss_parameter_supported": None})
    assert (await begin(provider, {"iss": None}))[0].name == "kim@example.com"


async def test_what_the_id_token_lacks_is_asked_of_the_provider(begin):
    provider = Provider({"groups": None}, info={"sub": "u1", "groups": ["web"], "email": "evil@example.com"})
    assert (await begin(provider))[0] == ProvenUser("kim@example.com", ("web",))


async def test_another_claim_may_name_the_user(begin):
    assert (await begin(Provider({"email": None}), name="sub"))[0].name == "u1"


async def test_the_description_is_read_once_and_again_later(begin):
    provider = Provider()
    _, login, clock = await begin(provider)
    await login.begin("/")
    assert provider.asked.count("/keys") == 1
    clock.now += oidc_login.FRESH
    await login.begin("/")
    assert provider.asked.count("/keys") == 2


async def test_an_unknown_key_lets_the_keys_be_read_again_and_not_without_end(begin, monkeypatch, tmp_path):
    provider = Provider(header={"kid": "two"}, keys=FOREIGN)
    login, clock = make_login(provider, monkeypatch, tmp_path)
    for wait, read in ((0, 1), (0, 1), (oidc_login.KEYS_PAUSE, 2), (0, 2)):
        clock.now += wait
        url, begun = await login.begin("/")
        with pytest.raises(LoginFailed):
            await login.finish(provider.log_in(url), begun)
        assert provider.asked.count("/keys") == read


async def test_a_provider_that_is_away_is_not_asked_by_everybody_who_begins_a_login(monkeypatch, tmp_path):
    provider = Provider(raw={"/keys": httpx2.Response(500)})
    login, clock = make_login(provider, monkeypatch, tmp_path)
    answers = await asyncio.gather(*(login.begin("/") for _ in range(20)), return_exceptions=True)
    assert {str(one) for one in answers} == {str(answers[0])}
    assert {type(one) for one in answers} == {LoginFailed}
    assert provider.asked.count("/keys") == 1
    clock.now += oidc_login.FAILED_PAUSE
    provider.raw.clear()
    await login.begin("/")
    assert provider.asked.count("/keys") == 2
