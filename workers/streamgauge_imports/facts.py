"""What was read, as events: checked against their declarations, people as pseudonyms, each with a key of its own."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from streamgauge.capture.identity import LONGEST_IDENTIFIER
from streamgauge.capture.properties import InvalidPropertyError, Vocabulary, is_storable, with_pseudonyms
from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.event import Event
from streamgauge.sharding import shard_of
from streamgauge.summaries.calendar import END_SECOND
from streamgauge.summaries.rollups import EventType
from streamgauge_imports.log_frames import Rejects

ACTORS_KEPT: Final = 200_000


class UnusableError(Exception):
    """A row that becomes no event: why, and what exactly is wrong. Never what it holds."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class RejectedRows(Rejects):
    """Rejected rows with what exactly is wrong, counted by reason."""

    def refuse(self, number: int, reason: str, detail: str) -> None:
        """Take note of a row. Raises ServerError when the list cannot be written."""
        self.add(number, f"{reason}: {detail}")

    def summary(self) -> dict[str, Any]:
        """See `Rejects.summary`."""
        counted: Counter[str] = Counter()
        for told, count in self.counts.items():
            counted[told.partition(":")[0]] += count
        return {**super().summary(), "rejected": dict(counted)}


class Facts:
    """Makes events for one tenant. `kinds` counts them by name."""

    def __init__(self, keys: TenantKeys, event_types: Iterable[EventType], shards: int) -> None:
        self._keys = keys
        self._vocabulary = Vocabulary(event_types)
        self._shards = shards
        self._actors: dict[str, bytes] = {}
        self.kinds: Counter[str] = Counter()

    def event(
        self,
        name: str,
        at_us: int,
        properties: Mapping[str, Any],
        key: str,
        *,
        actor: str | None = None,
        session: str | None = None,
        group: str | None = None,
    ) -> tuple[int, Event]:
        """An event and its shard.

        Args:
            name: of a declared event type.
            at_us: UTC microseconds.
            properties: declared ones.
            key: the same for the same fact, whenever and from whichever file it comes.
            actor, session, group: as the host knows them.

        Raises UnusableError.
        """
        declaration = self._vocabulary.declarations.get(name)
        if declaration is None:
            raise UnusableError("undeclared_event", "it names no declared event type")
        if not 0 <= at_us < END_SECOND * 1_000_000:
            raise UnusableError("invalid_time", "it lies outside of 1970 to 2100")
        for field, text in (
            ("actor", actor),
            ("session", session),
            ("group", group),
            ("idempotency_key", key),
        ):
            if text is not None and not is_storable(text, LONGEST_IDENTIFIER):
                raise UnusableError("invalid_identity", f"{field} has 1 to {LONGEST_IDENTIFIER} characters")
        try:
            kept, _, undeclared = declaration.admit(dict(properties))
        except InvalidPropertyError as error:
            raise UnusableError("invalid_property", f"property {error}") from None
        if undeclared:
            raise UnusableError("invalid_property", f"{name} has no property {undeclared[0]!r:.100}")
        pseudonym = None if actor is None else self._pseudonym(actor)
        hidden = None if session is None else self._keys.pseudonym("session", session).hex()
        event_id = self._keys.event_id(name, key, actor, session)
        self.kinds[name] += 1
        event = Event(
            name, at_us, self._keys.tenant, pseudonym, hidden, group, None, "import",
            with_pseudonyms(kept, partial(self._keys.pseudonym, "actor")), event_id,
        )  # fmt: skip
        return shard_of(pseudonym, hidden, event_id, b"", self._shards), event

    def _pseudonym(self, actor: str) -> bytes:
        found = self._actors.get(actor)
        if found is None:
            if len(self._actors) >= ACTORS_KEPT:
                self._actors.clear()
            found = self._actors[actor] = self._keys.pseudonym("actor", actor)
        return found
