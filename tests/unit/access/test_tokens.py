"""What tokens are believed, and what they then say."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamgauge.access.claims import Claims
from streamgauge.access.tokens import LEEWAY, LONGEST_LIFE, Tokens
from streamgauge.errors import ServerError, SettingsError
from tests.unit.access.identity_provider import Published, claims, jwk, signed, token, told

NOW = 1_800_000_000


async def verified(payload: dict[str, Any], **settings: Any) -> Claims | None:
    """What a server makes of a well signed token with this payload."""
    return await Tokens(told(**settings), Published()).verify(token(payload=payload))


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("rsa", "RS256"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")],
)
async def test_a_good_token_says_who_somebody_is(name: str, algorithm: str) -> None:
    payload = claims()
    found = await Tokens(told(), Published()).verify(token(name, algorithm, payload))
    assert found == Claims(
        "teacher-7",
        "school",
        "analyst",
        frozenset({"class-1", "class-2"}),
        datetime.fromtimestamp(payload["exp"], UTC),
    )


async def test_every_algorithm_that_can_be_set_is_understood() -> None:
    keys = {"RS": "rsa", "PS": "rsa", "ES256": "ec256", "ES384": "ec384", "ES512": "ec521", "Ed": "ed"}
    published = Published(*(jwk(name) for name in dict.fromkeys(keys.values())))
    every = [f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)] + ["EdDSA"]
    tokens = Tokens(told(jwt_algorithms=", ".join(every)), published)
    for algorithm in every:
        name = keys.get(algorithm) or keys[algorithm[:2]]
        assert await tokens.verify(token(name, algorithm)) is not None, algorithm


async def test_a_token_without_kid_is_believed_while_one_key_fits() -> None:
    unnamed = token("rsa", kid=None)
    assert await Tokens(told(), Published()).verify(unnamed) is not None
    two = Published(jwk("rsa"), jwk("rsa-2"))
    assert await Tokens(told(), two).verify(unnamed) is None
    assert await Tokens(told(), two).verify(token("rsa")) is not None


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
async def test_access_tokens_may_call_themselves_so(kind: str | None) -> None:
    assert await Tokens(told(), Published()).verify(token(typ=kind)) is not None


@pytest.mark.parametrize("kind", ["logout+jwt", "secevent+jwt", "dpop+jwt", "", 1, ["JWT"], {}])
async def test_tokens_of_another_kind_are_not_believed(kind: Any) -> None:
    assert await Tokens(told(), Published()).verify(token(typ=kind)) is None


async def test_claims_are_found_where_the_setting_says() -> None:
    names = (
        "actor=user.id, tenant=https://school.example/tenant, role=realm_access.roles, groups=user.teaches"
    )
    payload = {
        "user": {"id": "t-1", "teaches": ["7b"]},
        "https://school.example/tenant": "north",
        "realm_access": {"roles": ["offline_access", "analyst", "uma_authorization"]},
    }
    found = await verified(claims(sub=None, tenant=None, role=None, groups=None, **payload), jwt_claims=names)
    assert found is not None
    assert (found.subject, found.tenant, found.role) == ("t-1", "north", "analyst")
    assert found.groups == frozenset({"7b"})


async def test_a_way_that_leads_through_no_object_finds_nothing() -> None:
    for between in ("text", ["roles"], 1, None):
        payload = claims(role=None, realm_access=between)
        assert await verified(payload, jwt_claims="actor=sub,tenant=tenant,role=realm_access.roles") is None


@pytest.mark.parametrize("role", ["member", "analyst", "admin", "writer"])
async def test_a_role_is_a_text_or_the_one_known_in_a_list(role: str) -> None:
    for stated in (role, [role], ["other", role, role]):
        found = await verified(claims(role=stated))
        assert found is not None
        assert found.role == role


@pytest.mark.parametrize(
    "role",
    [
        None,
        "",
        "owner",
        "Admin",
        "admin ",
        "superuser",
        1,
        True,
        {},
        {"admin": True},
        [],
        ["other"],
        ["admin", "analyst"],
        ["owner"],
        ["owner", "admin"],
        ["admin", 1],
        ["admin", None],
        [["admin"]],
    ],
    ids=repr,
)
async def test_nobody_gets_a_role_by_default(role: Any) -> None:
    assert await verified(claims(role=role)) is None


async def test_an_analyst_whose_token_names_no_groups_sees_none() -> None:
    none_said: tuple[Any, ...] = (None, [])
    for groups in none_said:
        found = await verified(claims(groups=groups))
        assert found is not None
        assert found.groups == frozenset()


async def test_an_analyst_sees_the_whole_tenant_only_where_no_claim_of_groups_is_set() -> None:
    found = await verified(claims(), jwt_claims="actor=sub,tenant=tenant,role=role")
    assert found is not None
    assert found.groups is None


@pytest.mark.parametrize("role", ["member", "admin", "writer"])
async def test_groups_limit_analysts_alone(role: str) -> None:
    found = await verified(claims(role=role))
    assert found is not None
    assert found.groups is None


@pytest.mark.parametrize(
    "groups",
    ["class-1", {"class-1": True}, 1, True, [""], [1], [None], [["a"]], ["a\0"], ["\ud800"], ["a" * 101]],
    ids=repr,
)
@pytest.mark.parametrize("role", ["analyst", "admin"])
async def test_groups_that_are_no_list_of_texts_are_refused(groups: Any, role: str) -> None:
    assert await verified(claims(groups=groups, role=role)) is None


async def test_five_hundred_groups_are_understood_and_one_more_is_not() -> None:
    names = [f"g{number}" for number in range(501)]
    found = await verified(claims(groups=names[:500]))
    assert found is not None
    assert len(found.groups or ()) == 500
    assert await verified(claims(groups=names)) is None


@pytest.mark.parametrize("text", ["", 7, None, True, ["a"], {}, "a\0b", "\udc00", "x" * 513], ids=repr)
async def test_a_person_is_a_text_that_can_be_stored(text: Any) -> None:
    assert await verified(claims(sub=text)) is None


@pytest.mark.parametrize("text", ["", 7, None, ["school"], "a\0b", "\udc00", "x" * 101], ids=repr)
async def test_a_tenant_is_a_text_that_can_be_stored(text: Any) -> None:
    assert await verified(claims(tenant=text)) is None


async def test_the_longest_names_are_understood() -> None:
    found = await verified(claims(sub="s" * 512, tenant="t" * 100, groups=["g" * 100]))
    assert found is not None
    assert (len(found.subject), len(found.tenant)) == (512, 100)


async def at(now: float, **times: Any) -> Claims | None:
    """What is made at that time of a token with these times."""
    tokens = Tokens(told(), Published(), clock=lambda: now)
    return await tokens.verify(token(payload=claims(**{"iat": None, **times})))


async def test_a_token_is_believed_until_it_expires_and_thirty_seconds_longer() -> None:
    assert LEEWAY == 30
    assert await at(NOW - 1, exp=NOW) is not None
    assert await at(NOW + LEEWAY - 1, exp=NOW) is not None
    assert await at(NOW + LEEWAY, exp=NOW) is None


@pytest.mark.parametrize("name", ["nbf", "iat"])
async def test_a_token_from_the_future_is_not_believed(name: str) -> None:
    assert await at(NOW, **{"exp": NOW + 600, name: NOW + LEEWAY}) is not None
    assert await at(NOW, **{"exp": NOW + 600, name: NOW + LEEWAY + 1}) is None


async def test_a_token_may_live_for_a_day() -> None:
    assert LONGEST_LIFE == 24 * 3600
    most = LONGEST_LIFE + LEEWAY
    assert await at(NOW, exp=NOW + most) is not None
    assert await at(NOW, exp=NOW + most + 1) is None
    # One that is nearly over has lived too long as well.
    assert await at(NOW, iat=NOW - most, exp=NOW) is not None
    assert await at(NOW, iat=NOW - most, exp=NOW + 1) is None
    # A clock that is ahead gives no more time.
    assert await at(NOW, iat=NOW + LEEWAY, exp=NOW + most + 1) is None


async def test_fractions_of_seconds_are_times() -> None:
    assert await at(NOW, exp=NOW + 0.5, iat=NOW - 0.5, nbf=NOW + 0.25) is not None
    assert await at(NOW, exp=NOW - LEEWAY - 0.5) is None


async def test_the_audience_may_be_one_of_several() -> None:
    assert await verified(claims(aud=["account", "streamgauge"])) is not None


async def test_names_stand_once_in_a_token() -> None:
    payload = str(claims()).replace("'", '"')
    header = {"alg": "RS256", "kid": "rsa"}
    tokens = Tokens(told(), Published())
    assert await tokens.verify(signed("rsa", "RS256", header, payload.encode())) is not None
    twice = payload.replace('"role":', '"role": "member", "role":')
    assert await tokens.verify(signed("rsa", "RS256", header, twice.encode())) is None


@pytest.mark.parametrize(
    "algorithms",
    ["HS256", "none", "None", "", "RS256,", "RS256,HS256", "rs256", "ES256K", "RS1", "RS256 ES256", "dir"],
)
def test_algorithms_without_public_keys_cannot_be_set(algorithms: str) -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_JWT_ALGORITHMS"):
        Tokens(told(jwt_algorithms=algorithms))


@pytest.mark.parametrize(
    "names",
    [
        "",
        "actor=sub",
        "actor=sub,tenant=tenant",
        "actor=sub,tenant=tenant,role=",
        "actor=sub,tenant=tenant,role",
        "actor=sub,tenant=tenant,role=a..b",
        "actor=sub,tenant=tenant,role=.a",
        "actor=sub,tenant=tenant,role=role,role=admin",
        "actor=sub,tenant=tenant,role=role,scope=scp",
        "actor=sub,tenant=tenant,role=role,groups=",
        "actor=sub,tenant=tenant,role=role,",
    ],
)
def test_a_mapping_of_claims_that_is_none_is_refused(names: str) -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_JWT_CLAIMS"):
        Tokens(told(jwt_claims=names))


@pytest.mark.parametrize("name", ["jwt_issuer", "jwt_audience", "jwt_jwks"])
def test_half_a_provider_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"STREAMGAUGE_{name.upper()} is not set"):
        Tokens.from_settings(told(**{name: ""}))


def test_without_a_provider_there_are_no_tokens() -> None:
    assert Tokens.from_settings(told(jwt_issuer="", jwt_audience="", jwt_jwks="")) is None
    assert Tokens.from_settings(told()) is not None


async def test_only_a_provider_that_never_answered_makes_verification_fail() -> None:
    published = Published()
    published.failing = ServerError("away")
    with pytest.raises(ServerError, match="tokens cannot be verified now"):
        await Tokens(told(), published).verify(token())


async def test_what_is_no_token_is_refused_without_asking_the_provider() -> None:
    published = Published()
    published.failing = AssertionError("asked")
    tokens = Tokens(told(), published)
    for text in (
        "",
        "sg_abc",
        "a.b",
        "a.b.c",
        "..",
        token() + ".",
        token(alg="HS256"),
        token(crit=["exp"]),
        token(kid=1),
    ):
        assert await tokens.verify(text) is None
    assert published.asked == 0


async def test_the_log_says_why_and_nothing_of_the_token() -> None:
    with capture_logs() as logs:
        await Tokens(told(), Published()).verify(token(payload=claims(exp=int(time.time()) - 3600)))
    assert [each["reason"] for each in logs] == ["it has expired"]
    assert "teacher-7" not in str(logs)
    assert "eyJ" not in str(logs)
