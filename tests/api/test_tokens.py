"""Tokens of an identity provider at the API: a real provider's server, real keys, the whole way to the answer."""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from streamgauge.access import key_source
from streamgauge.access.jwks import BETWEEN_REFRESHES, FRESH, STALE
from streamgauge.access.keys import make_key
from streamgauge.access.tokens import Tokens
from tests.api.server import Api, open_api
from tests.unit.access.identity_provider import Clock, claims, encoded, jwk, jwk_set, pem, token, told
from tests.unit.access.provider_server import Answer, Handler, endless, serving


class Provider:
    """An identity provider, its server and what it does now."""

    def __init__(self) -> None:
        self.answer: Answer = lambda handler: handler.send(200, self.keys)
        self.keys = jwk_set()
        self.asked: list[str] = []
        self.clock = Clock()
        self.address = ""

    def __call__(self, handler: Handler) -> None:
        self.asked.append(handler.path)
        with suppress(OSError):
            self.answer(handler)


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    with serving(made) as address:
        made.address = address
        yield made


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path, provider: Provider) -> AsyncIterator[Api]:
    async with open_api(redis_url, database_url, tmp_path, {"school": "UTC"}) as opened:
        opened.app.state.tokens = Tokens(told(jwt_jwks=provider.address), monotonic=provider.clock)
        yield opened


async def status(api: Api, credential: str) -> int:
    """What is answered to somebody who asks for a tenant's catalogue."""
    return (await api.get("catalogue", credential)).status_code


def admin(name: str = "rsa", algorithm: str | None = None, **header: object) -> str:
    """An admin's token."""
    return token(name, algorithm, claims(role="admin"), **header)


async def test_a_token_opens_what_its_role_may_see(api: Api) -> None:
    for name, algorithm in (("rsa", "RS256"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")):
        assert await status(api, admin(name, algorithm)) == 200
    # Figures are of the whole tenant.
    for payload in (claims(), claims(groups=None), claims(role="member"), claims(role="writer")):
        assert await status(api, token(payload=payload)) == 403
    assert await status(api, token(payload=claims(role="admin", tenant="elsewhere"))) == 401


async def test_every_forged_token_gets_the_answer_of_an_unknown_key(api: Api) -> None:
    assert await status(api, admin()) == 200
    header, payload, signature = admin().split(".")
    then = claims()["iat"] - 90_000
    confused = f"{encoded(json.dumps({'alg': 'HS256', 'kid': 'rsa'}).encode())}.{payload}"
    forged = [
        f"{encoded(json.dumps({'alg': alg, 'kid': 'rsa'}).encode())}.{payload}.{end}"
        for alg in ("none", "None", "NONE", "nOnE", "")
        for end in ("", signature)
    ]
    forged += [
        f"{confused}.{encoded(hmac.digest(secret, confused.encode(), 'sha256'))}"
        for secret in (
            pem("rsa"),
            json.dumps(jwk("rsa")).encode(),
            base64.b64decode(b"".join(pem("rsa").split()[3:-3])),
        )
    ]
    forged += [
        admin(kid=kid) for kid in ("../../dev/null", "' OR 1=1--", "https://evil.example/keys", "\0", "")
    ]
    forged += [
        admin("rsa-attacker", kid="rsa"),
        admin("rsa-attacker", kid="rsa", jwk=jwk("rsa-attacker", kid="rsa")),
        admin("rsa-attacker", kid="rsa", jku="https://evil.example/keys"),
        admin(alg="ES256"),
        admin(crit=["exp"]),
        token(payload=claims(role="admin", aud="another")),
        token(payload=claims(role="admin", iss="https://evil.example/")),
        token(payload=claims(role="admin", exp=None)),
        token(payload=claims(role="admin", iat=then, exp=then + 600)),
        token(payload=claims(role="admin", nbf=claims()["iat"] + 600)),
        token(payload=claims(role="owner")),
        token(payload=claims(role=None)),
        f"{header}.{payload}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature}.{payload}.{signature}",
        f"{header}.{payload}.{signature}" + "A" * 100_000,
    ]
    expected = await api.get("catalogue", make_key().text)
    assert expected.status_code == 401
    for credential in forged:
        reply = await api.get("catalogue", credential)
        assert (reply.status_code, reply.content) == (401, expected.content), credential[:200]
        assert reply.headers["www-authenticate"] == expected.headers["www-authenticate"]


async def test_a_key_the_provider_changes_is_followed(api: Api, provider: Provider) -> None:
    assert await status(api, admin()) == 200
    provider.keys = jwk_set(jwk("rsa"), jwk("rsa-2"))
    assert await status(api, admin("rsa-2")) == 401
    provider.clock.now += BETWEEN_REFRESHES
    assert await status(api, admin("rsa-2")) == 200
    assert await status(api, admin()) == 200
    provider.keys = jwk_set(jwk("rsa-2"))
    provider.clock.now += FRESH
    assert await status(api, admin()) == 401
    assert await status(api, admin("rsa-2")) == 200
    assert len(provider.asked) == 3


async def test_names_of_keys_that_somebody_makes_up_do_not_reach_the_provider(
    api: Api, provider: Provider
) -> None:
    for number in range(20):
        assert await status(api, admin(kid=f"../{number}")) == 401
    assert provider.asked == ["/keys?of=school"]


def silent(handler: Handler) -> None:
    """No answer for as long as the test takes."""
    handler.server.over.wait(20)


def elsewhere(handler: Handler) -> None:
    """An answer that is to be had somewhere else."""
    handler.send(302, b"", Location=f"http://{handler.headers['Host']}/elsewhere")


def broken(handler: Handler) -> None:
    """An error."""
    handler.send(500, b"")


def a_page(handler: Handler) -> None:
    """Something else."""
    handler.send(200, b"<html>Sign in</html>")


@pytest.mark.parametrize("failing", [silent, elsewhere, broken, a_page, endless])
async def test_without_the_provider_nobody_new_gets_in_and_who_is_known_does_for_an_hour(
    api: Api, provider: Provider, failing: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_source, "DEADLINE", 0.3)
    good = provider.answer
    provider.answer = failing
    reply = await api.get("catalogue", admin())
    assert reply.status_code == 503
    assert provider.address not in reply.text
    # Keys of our own need no provider.
    assert await status(api, await api.key("school", "read")) == 200
    provider.answer = good
    provider.clock.now += BETWEEN_REFRESHES
    assert await status(api, admin()) == 200
    provider.answer = failing
    provider.clock.now += STALE - 1
    assert await status(api, admin()) == 200
    provider.clock.now += 1
    assert await status(api, admin()) == 503
    assert set(provider.asked) == {"/keys?of=school"}
