"""An OpenID provider in memory that lies as a test asks, behind the HTTP client of the login."""

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

import httpx2
from joserfc import jwk, jwt

from reconciler.host.access_rules import OidcProvider
from reconciler.server.access import oidc_login

ISSUER = "https://login.example.com"
CLIENT = "reconciler"
KEYS = jwk.KeySet([jwk.RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})])
FOREIGN = jwk.KeySet([jwk.RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})])
NOW = 1_800_000_000


@dataclass
class Provider:
    """A provider: what it says of itself, and what its id tokens have.

    Args:
        claims: of the id token; None removes one.
        header: of the id token.
        keys: that sign it; None for those that it publishes.
        description: changes to what it says of itself.
        info: what its endpoint for the user answers.
    """

    claims: dict = field(default_factory=dict)
    header: dict = field(default_factory=dict)
    keys: object = None
    description: dict = field(default_factory=dict)
    info: dict | None = None
    raw: dict = field(default_factory=dict)
    codes: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)

    def answer(self, request):
        """What the provider answers to one request."""
        path = urlsplit(str(request.url)).path
        self.asked.append(path)
        if path in self.raw:
            return self.raw[path]
        if path == "/.well-known/openid-configuration":
            return httpx2.Response(200, json=self.describe())
        if path == "/keys":
            return httpx2.Response(200, json=KEYS.as_dict(private=False))
        if path == "/me":
            assert request.headers["authorization"] == "Bearer at"
            return httpx2.Response(200, json=self.info)
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        begun = self.codes.pop(form["code"], None)
        if begun is None or oidc_challenge(form["code_verifier"]) != begun["code_challenge"]:
            return httpx2.Response(400, json={"error": "invalid_grant", "error_description": "s3cret"})
        return httpx2.Response(
            200, json={"access_token": "at", "token_type": "Bearer", "id_token": self.sign(begun["nonce"])}
        )

    def describe(self):
        found = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/auth",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
            "authorization_response_iss_parameter_supported": True,
            **({"userinfo_endpoint": f"{ISSUER}/me"} if self.info is not None else {}),
            **self.description,
        }
        return {name: value for name, value in found.items() if value is not None}

    def sign(self, nonce):
        claims = {
            "iss": ISSUER,
            "aud": CLIENT,
            "sub": "u1",
            "iat": NOW,
            "exp": NOW + 300,
            "nonce": nonce,
            "email": "kim@example.com",
            "email_verified": True,
            "groups": ["ops"],
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": "one", **self.header}
        if header["alg"] == "none":
            return ".".join(jwt_part(part) for part in (header, claims)) + "."
        if header["alg"].startswith("HS"):  # with the public key as the shared secret
            key = jwk.OctKey.import_key(KEYS.keys[0].as_pem(private=False))
            return jwt.encode(header, claims, key, algorithms=[header["alg"]])
        return jwt.encode(header, claims, (self.keys or KEYS).keys[0], algorithms=[header["alg"]])

    def log_in(self, url):
        """What the browser comes back with after the user has logged in at this URL."""
        found = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = f"code-{len(self.asked)}"
        self.codes[code] = found
        return {"code": code, "state": found["state"], "iss": ISSUER}


def jwt_part(value):
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def oidc_challenge(verifier):
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


class Clocks:
    """Seconds of both kinds, which stand until they are moved."""

    def __init__(self):
        self.now = float(NOW)

    def __call__(self):
        return self.now


def make_login(provider, monkeypatch, tmp_path, **entry):
    """A login whose requests end at a provider in memory."""
    secret = tmp_path / "oidc-secret"
    secret.write_text("client s3cret\n")
    secret.chmod(0o600)
    model = OidcProvider(
        **{"issuer": ISSUER, "client": CLIENT, "secret": secret, "redirect": "https://fleet.example.com"}
        | entry
    )
    clock = Clocks()
    login = oidc_login.OidcLogin(model, secret, clock, clock)
    real = oidc_login.OidcLogin._make_http_options

    def options(self):
        return real(self) | {"transport": httpx2.MockTransport(provider.answer)}

    monkeypatch.setattr(oidc_login.OidcLogin, "_make_http_options", options)
    return login, clock
