"""What can be configured, and where each value comes from.

One frozen object, standard library only: a host application imports this module. `Settings.from_environ`
reads environment variables; the metadata of each field (`env`, `doc`, `range`) is the one description of it,
which `.env.example` repeats.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

from streamgauge.errors import SettingsError

LOG_LEVELS = ("debug", "info", "warning", "error")
#: Where an application keeps what Redis does not take: nowhere but in memory, in files, or in files before anything else.
CAPTURE_MODES = ("memory", "disk", "durable")
#: The schemes a URL may have, and the form we keep.
REDIS_SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
POSTGRES_SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql"}
_WORKER_PORT_OFFSET = 2
# To the last "@": passwords pasted without escaping hold all sorts of characters, and hiding too much does no
# harm.
_USER_PASSWORD = re.compile(r"(?<=://)([^/?#@:]*):.*@", re.DOTALL)
_FLAGS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](?::[0-9]{1,5})?")
_QUERY_PASSWORD = re.compile(r"(?<=[?&])(password=)[^&#]*", re.IGNORECASE)


def _setting(default: Any, *env: str, doc: str, allowed: tuple[int, int] | None = None) -> Any:
    """A field with its variables in order of precedence, its meaning, and for numbers their range."""
    return dataclasses.field(default=default, metadata={"env": env, "doc": doc, "range": allowed})


@dataclasses.dataclass(frozen=True, repr=False)
class Settings:
    """Everything Streamgauge can be told. `None` for a URL means: nothing given, use local servers.

    Raises:
        SettingsError: a value is malformed or outside its range.
    """

    redis_url: str | None = _setting(
        None,
        "STREAMGAUGE_REDIS_URL",
        "REDIS_URL",
        doc="Redis >= 7.0 or Valkey >= 7.2, as redis://, rediss:// or unix://. Without it, and without "
        "REDIS_HOST (with REDIS_PORT, REDIS_DB, REDIS_PASSWORD), a local Valkey is started in the data "
        "directory.",
    )
    database_url: str | None = _setting(
        None,
        "STREAMGAUGE_DATABASE_URL",
        "DATABASE_URL",
        doc="PostgreSQL >= 14, as postgresql:// (postgres:// and postgresql+asyncpg:// are understood). "
        "Without it a local PostgreSQL is started in the data directory.",
    )
    # Not shared mutable state: `_setting` returns a field of its own, and paths are immutable.
    data_dir: Path = _setting(  # noqa: RUF009
        Path(".streamgauge"),
        "STREAMGAUGE_DATA_DIR",
        doc="Directory of the local servers' data, the keys and the logs.",
    )
    host: str = _setting("127.0.0.1", "STREAMGAUGE_HOST", doc="Address the server listens on.")
    port: int = _setting(8400, "STREAMGAUGE_PORT", doc="Port of the API server.", allowed=(1, 65535))
    worker_port: int = _setting(
        0,
        "STREAMGAUGE_WORKER_PORT",
        doc="Port where the worker serves its metrics; 0 means the server's port + 2.",
        allowed=(0, 65535),
    )
    shards: int = _setting(
        4,
        "STREAMGAUGE_SHARDS",
        doc="Number of streams. Every process must be told the same number.",
        allowed=(1, 64),
    )
    generation: int = _setting(
        0,
        "STREAMGAUGE_GENERATION",
        doc="Which layout of streams an application sends to: set it with STREAMGAUGE_SHARDS when `streamgauge shards` says so.",
        allowed=(0, 9_999),
    )
    stream_prefix: str = _setting(
        "streamgauge",
        "STREAMGAUGE_STREAM_PREFIX",
        doc="What the names of our keys in Redis begin with: 1 to 64 letters, digits, '_', '-', '.' or ':'.",
    )
    max_lateness_days: int = _setting(
        7,
        "STREAMGAUGE_MAX_LATENESS_DAYS",
        doc="Days an event may arrive late and still be counted; also how long a caller's key is remembered.",
        allowed=(1, 365),
    )
    cardinality_limit: int = _setting(
        1000,
        "STREAMGAUGE_CARDINALITY_LIMIT",
        doc="Distinct values kept per dimension, tenant and local day; the rest is counted as (other).",
        allowed=(1, 100_000),
    )
    batch_events: int = _setting(
        32_000,
        "STREAMGAUGE_BATCH_EVENTS",
        doc="Most events a worker puts into one transaction.",
        allowed=(1, 32_768),
    )
    lease_seconds: int = _setting(
        3,
        "STREAMGAUGE_LEASE_SECONDS",
        doc="Seconds after which another worker takes over the shards of a silent one.",
        allowed=(1, 300),
    )
    trim_lag_seconds: int = _setting(
        600,
        "STREAMGAUGE_TRIM_LAG_SECONDS",
        doc="Seconds of processed entries kept in the streams. Set it above the newest data a restore of "
        "PostgreSQL may lose.",
        allowed=(0, 604_800),
    )
    stream_max_bytes: int = _setting(
        256 * 1024 * 1024,
        "STREAMGAUGE_STREAM_MAX_BYTES",
        doc="Bytes of processed entries kept per shard, whatever the lag in seconds says.",
        allowed=(1024 * 1024, 1024**4),
    )
    accepted_loss_seconds: int = _setting(
        10,
        "STREAMGAUGE_ACCEPTED_LOSS_SECONDS",
        doc="Seconds of commits that a failover of PostgreSQL may lose. Durable events are kept that much longer where they were captured.",
        allowed=(0, 86_400),
    )
    dead_letter_percent: int = _setting(
        50,
        "STREAMGAUGE_DEAD_LETTER_PERCENT",
        doc="Share of events that may become dead letters before a shard stops and waits for a human; 100: it never stops.",
        allowed=(1, 100),
    )
    log_retention_days: int = _setting(
        30,
        "STREAMGAUGE_LOG_RETENTION_DAYS",
        doc="Days the event log is kept in PostgreSQL, counted from application; then it is archived.",
        allowed=(1, 3_650),
    )
    log_max_bytes: int = _setting(
        50 * 1024**3,
        "STREAMGAUGE_LOG_MAX_BYTES",
        doc="Bytes of event log in PostgreSQL, above which its oldest days are archived early.",
        allowed=(1024 * 1024, 1024**5),
    )
    archive_dir: Path = _setting(  # noqa: RUF009 - as above
        Path(),
        "STREAMGAUGE_ARCHIVE_DIR",
        doc="Directory of archived days of the event log, as Parquet. Workers share it. Default: archive in the data directory.",
    )
    catalogue: str = _setting(
        "streamgauge.catalogue:CATALOGUE",
        "STREAMGAUGE_CATALOGUE",
        doc="Where the declared event types and rollups are, as module:name. Yours: CATALOGUE.extended(...).",
    )
    enabled: bool = _setting(
        True,
        "STREAMGAUGE_ENABLED",
        doc="Whether this application is measured at all: true or false. With false, nothing is recorded or sent.",
    )
    tenant: str = _setting(
        "default",
        "STREAMGAUGE_TENANT",
        doc="Whose events an application's are, unless its code says otherwise: 1 to 100 characters.",
    )
    capture_percent: int = _setting(
        100,
        "STREAMGAUGE_CAPTURE_PERCENT",
        doc="Share of actors that are measured, in percent; the others' events are counted as sampled_out.",
        allowed=(0, 100),
    )
    buffer_events: int = _setting(
        10_000,
        "STREAMGAUGE_BUFFER_EVENTS",
        doc="Most events an application keeps while Redis is away; further ones are dropped and counted.",
        allowed=(100, 1_000_000),
    )
    buffer_bytes: int = _setting(
        16 * 1024 * 1024,
        "STREAMGAUGE_BUFFER_BYTES",
        doc="Most bytes of events an application keeps while Redis is away, as estimated.",
        allowed=(64 * 1024, 1024**3),
    )
    capture_mode: str = _setting(
        "disk",
        "STREAMGAUGE_CAPTURE_MODE",
        doc="What an application does with events that Redis does not take: memory, disk (files while Redis is away) or durable "
        "(files first, until PostgreSQL has them).",
    )
    spool_dir: Path = _setting(  # noqa: RUF009 - as above
        Path(),
        "STREAMGAUGE_SPOOL_DIR",
        doc="Directory of those files, on a disk of this machine. Default: spool in the data directory.",
    )
    spool_bytes: int = _setting(
        256 * 1024 * 1024,
        "STREAMGAUGE_SPOOL_BYTES",
        doc="Most bytes of those files, for each process; further events are dropped and counted.",
        allowed=(1024 * 1024, 1024**4),
    )
    tenant_events_per_second: int = _setting(
        5_000,
        "STREAMGAUGE_TENANT_EVENTS_PER_SECOND",
        doc="Events a second of one tenant, for each process, above which they are counted after everybody else's; 0: no quota.",
        allowed=(0, 1_000_000),
    )
    flush_milliseconds: int = _setting(
        50,
        "STREAMGAUGE_FLUSH_MILLISECONDS",
        doc="How long an event waits for others before it is sent.",
        allowed=(1, 10_000),
    )
    cors_origins: str = _setting(
        "",
        "STREAMGAUGE_CORS_ORIGINS",
        doc="Origins of other sites whose pages may read the API, separated by commas: https://app.example.org.",
    )
    trusted_proxies: str = _setting(
        "",
        "STREAMGAUGE_TRUSTED_PROXIES",
        doc="Addresses or networks of your reverse proxies, separated by commas: 10.0.0.0/8. What they say in X-Forwarded-For is "
        "believed, read from the right; nobody else's is.",
    )
    key_requests: int = _setting(
        6_000,
        "STREAMGAUGE_KEY_REQUESTS_PER_MINUTE",
        doc="Requests a minute that one credential may make to the API.",
        allowed=(1, 10_000_000),
    )
    address_requests: int = _setting(
        12_000,
        "STREAMGAUGE_ADDRESS_REQUESTS_PER_MINUTE",
        doc="Requests a minute that one address may make to the API, whatever its credentials.",
        allowed=(1, 10_000_000),
    )
    address_refusals: int = _setting(
        60,
        "STREAMGAUGE_ADDRESS_REFUSALS_PER_MINUTE",
        doc="Requests a minute without a usable credential, after which an address is not listened to.",
        allowed=(1, 10_000_000),
    )
    statement_seconds: int = _setting(
        10,
        "STREAMGAUGE_STATEMENT_SECONDS",
        doc="Seconds one statement of the API may take in PostgreSQL.",
        allowed=(1, 300),
    )
    jwt_issuer: str = _setting(
        "",
        "STREAMGAUGE_JWT_ISSUER",
        doc="`iss` of your identity provider's tokens. With it, tokens are understood beside keys; empty: keys alone.",
    )
    jwt_audience: str = _setting(
        "", "STREAMGAUGE_JWT_AUDIENCE", doc="`aud` that a token must have to be meant for this API."
    )
    jwt_jwks: str = _setting(
        "",
        "STREAMGAUGE_JWT_JWKS",
        doc="Where the provider's public keys are: an https:// address, http:// on this machine, or a file with a JWK set.",
    )
    jwt_algorithms: str = _setting(
        "RS256,ES256,EdDSA",
        "STREAMGAUGE_JWT_ALGORITHMS",
        doc="Signatures that are accepted, whatever a token says of itself: of RS, PS, ES with 256 to 512, and EdDSA.",
    )
    jwt_claims: str = _setting(
        "actor=sub,tenant=tenant,role=role,groups=groups",
        "STREAMGAUGE_JWT_CLAIMS",
        doc="Which claims hold actor, tenant, role and groups; a dot goes into an object: role=realm_access.role. "
        "A name with :// is taken as it stands.",
    )
    coach_prices: str = _setting(
        "",
        "STREAMGAUGE_COACH_PRICES",
        doc="What models of your assistant cost, as JSON (docs/domains.md); empty: their cost is not known.",
    )
    directory_url: str = _setting(
        "",
        "STREAMGAUGE_DIRECTORY_URL",
        doc="Where your application tells names of people, https:// or on this machine; empty: nobody has a name.",
    )
    directory_token: str = _setting(
        "", "STREAMGAUGE_DIRECTORY_TOKEN", doc="What the API shows your directory as Authorization: Bearer."
    )
    log_level: str = _setting("info", "STREAMGAUGE_LOG_LEVEL", doc="One of debug, info, warning, error.")
    keyring: Path = _setting(  # noqa: RUF009 - as above
        Path(),
        "STREAMGAUGE_KEYRING",
        doc="File with the keys pseudonyms are made with. Back it up apart from the database. "
        "Default: keyring.json in the data directory.",
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata["range"] is not None:
                _check_range(field.metadata["env"][0], getattr(self, field.name), field.metadata["range"])
        self._check_text()
        settle = object.__setattr__
        if self.redis_url is not None:
            settle(self, "redis_url", _normal_url("STREAMGAUGE_REDIS_URL", self.redis_url, REDIS_SCHEMES))
        if self.database_url is not None:
            url = _normal_url("STREAMGAUGE_DATABASE_URL", self.database_url, POSTGRES_SCHEMES)
            settle(self, "database_url", url)
        if self.worker_port == 0:
            settle(self, "worker_port", self.port + _WORKER_PORT_OFFSET)
            _check_range("STREAMGAUGE_WORKER_PORT (the port + 2)", self.worker_port, (1, 65535))
        if self.worker_port == self.port:
            raise SettingsError(
                f"STREAMGAUGE_WORKER_PORT and STREAMGAUGE_PORT are both {self.port}: let them differ"
            )
        if self.keyring == Path():
            settle(self, "keyring", self.data_dir / "keyring.json")
        for name in ("spool", "archive"):
            if getattr(self, f"{name}_dir") == Path():
                settle(self, f"{name}_dir", self.data_dir / name)

    def _check_text(self) -> None:
        if self.log_level not in LOG_LEVELS:
            raise SettingsError(
                f"STREAMGAUGE_LOG_LEVEL is {self.log_level!r}: choose one of {', '.join(LOG_LEVELS)}"
            )
        if self.capture_mode not in CAPTURE_MODES:
            raise SettingsError(
                f"STREAMGAUGE_CAPTURE_MODE is {self.capture_mode!r}: choose one of {', '.join(CAPTURE_MODES)}"
            )
        if not 1 <= len(self.tenant) <= 100 or "\0" in self.tenant:
            raise SettingsError(f"STREAMGAUGE_TENANT is {self.tenant!r}: give a name of 1 to 100 characters")
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise SettingsError(
                    f"STREAMGAUGE_CORS_ORIGINS holds {origin!r}: give origins such as https://app.example.org, "
                    "without a path, separated by commas"
                )
        if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", self.stream_prefix):
            raise SettingsError(
                f"STREAMGAUGE_STREAM_PREFIX is {self.stream_prefix!r}: "
                "use 1 to 64 letters, digits, '_', '-', '.' or ':'"
            )
        if not self.host or any(character.isspace() for character in self.host):
            raise SettingsError(f"STREAMGAUGE_HOST is {self.host!r}: give an address or a host name")

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`, each once."""
        return tuple(dict.fromkeys(part.strip() for part in self.cors_origins.split(",") if part.strip()))

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], **overrides: Any) -> Self:
        """Settings from environment variables; an empty variable counts as unset.

        Args:
            environ: usually `os.environ`.
            overrides: values by field name, such as options of a command line; they win, and `None` means not
                given.
        """
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            for variable in field.metadata["env"]:
                if text := environ.get(variable, "").strip():
                    values[field.name] = _parse(variable, text, field.type, field.metadata["range"])
                    break
        if "redis_url" not in values and environ.get("REDIS_HOST", "").strip():
            values["redis_url"] = _compose_redis_url(environ)
        values.update((name, value) for name, value in overrides.items() if value is not None)
        return cls(**values)

    def safe(self) -> dict[str, str]:
        """Every setting as text for people and logs, passwords hidden."""
        shown = {field.name: str(getattr(self, field.name)) for field in dataclasses.fields(self)}
        if self.directory_token:
            shown["directory_token"] = "***"  # noqa: S105 - what is shown instead of it
        return {name: without_password(text) for name, text in shown.items()}

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.safe().items())})"


def without_password(url: str) -> str:
    """The URL with every password in it replaced by asterisks."""
    return _QUERY_PASSWORD.sub(r"\1***", _USER_PASSWORD.sub(r"\1:***@", url))


def _parse(
    variable: str, text: str, kind: object, allowed: tuple[int, int] | None
) -> str | int | bool | Path:
    if kind is Path:
        return Path(text).expanduser()
    if kind is bool:
        if text.lower() not in _FLAGS:
            raise SettingsError(f"{variable} is {text!r}: give true or false")
        return _FLAGS[text.lower()]
    if kind is not int:
        return text.lower() if variable == "STREAMGAUGE_LOG_LEVEL" else text
    try:
        return int(text)
    except ValueError:
        low, high = allowed or (0, 0)
        raise SettingsError(f"{variable} is {text!r}: give a whole number from {low} to {high}") from None


def _check_range(variable: str, value: object, allowed: tuple[int, int]) -> None:
    low, high = allowed
    if not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{variable} is {value!r}: give a whole number from {low} to {high}")


def _normal_url(variable: str, url: str, schemes: Mapping[str, str]) -> str:
    """The URL with the scheme every client understands; SQLAlchemy's `+driver` is dropped."""
    scheme, separator, rest = url.partition("://")
    known = schemes.get(scheme.partition("+")[0].lower())
    if not separator or known is None or not rest:
        accepted = ", ".join(f"{name}://" for name in dict.fromkeys(schemes.values()))
        raise SettingsError(
            f"{variable} is {without_password(url)!r}: give a URL that begins with one of {accepted}"
        )
    try:
        # urlsplit looks at the port only when asked for it, and raises when it is not one.
        _ = urlsplit(f"{known}://{rest}").port
    except ValueError as error:
        raise SettingsError(f"{variable} is {without_password(url)!r}: {error}") from None
    return f"{known}://{rest}"


def _compose_redis_url(environ: Mapping[str, str]) -> str:
    host = environ["REDIS_HOST"].strip()
    port = _parse("REDIS_PORT", environ.get("REDIS_PORT", "").strip() or "6379", int, (1, 65535))
    _check_range("REDIS_PORT", port, (1, 65535))
    database = _parse("REDIS_DB", environ.get("REDIS_DB", "").strip() or "0", int, (0, 65535))
    _check_range("REDIS_DB", database, (0, 65535))
    password = environ.get("REDIS_PASSWORD", "")
    credentials = f":{quote(password, safe='')}@" if password else ""
    address = f"[{host}]" if ":" in host else host
    return f"redis://{credentials}{address}:{port}/{database}"
