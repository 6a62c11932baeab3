"""Every error Streamgauge raises on purpose.

StreamgaugeError
├── SettingsError         a setting is missing, malformed or contradicts another
├── InputError            what a caller or a file gave cannot be used; names the field and the limit
├── ServerError           PostgreSQL or Redis cannot serve us; says what to change
│   ├── SchemaError       the database is not at the version this program needs
│   └── UnreachableError  it is away, or takes no more connections: it may come back
├── FrameError            bytes in the stream are not a frame we can read
│   └── NewerFrameError   they are of a newer version: upgrade before going on
├── ArchiveError          an archived day of the event log is missing, damaged or cannot be written
└── FencedError           another writer moved the shard's token: drop caches and read again
"""


class StreamgaugeError(Exception):
    """Something in Streamgauge went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class SettingsError(StreamgaugeError):
    """A setting is missing, malformed or contradicts another."""


class InputError(StreamgaugeError):
    """What was given cannot be used."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        #: The field, option or file the message is about, for problem details.
        self.field = field


class ServerError(StreamgaugeError):
    """PostgreSQL or Redis cannot serve us."""


class SchemaError(ServerError):
    """The database is not at the version this program needs."""


class UnreachableError(ServerError):
    """PostgreSQL or Redis is away, or takes no more connections: it may come back."""


class FrameError(StreamgaugeError):
    """Bytes in the stream are not a frame we can read."""


class NewerFrameError(FrameError):
    """A frame of a newer version: upgrade the workers before the producers."""


class ArchiveError(StreamgaugeError):
    """An archived day of the event log is missing, damaged or cannot be written."""


class FencedError(StreamgaugeError):
    """Another writer moved the shard's token."""
