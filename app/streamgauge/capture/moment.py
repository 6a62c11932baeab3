"""When something happened, as a caller may say it."""

from datetime import UTC, datetime, timedelta

from streamgauge.capture.properties import InvalidPropertyError

#: Events of later times cannot be stored: microseconds since 1970.
LAST_MOMENT = 4_102_444_800_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: object) -> int:
    """UTC microseconds since 1970 of a datetime with its time zone, or of a number that is such already.

    Raises InvalidPropertyError for anything else, and for what is not between 1970 and 2100.
    """
    if isinstance(moment, datetime):
        if moment.utcoffset() is None:
            raise InvalidPropertyError(
                "'occurred_at' has no time zone: which hour it means is anybody's guess"
            )
        at = (moment - _EPOCH) // _MICROSECOND
    elif isinstance(moment, int) and not isinstance(moment, bool):
        at = int.__int__(moment)
    else:
        raise InvalidPropertyError(
            f"'occurred_at' is a datetime or microseconds, not {type(moment).__name__}"
        )
    if not 0 <= at < LAST_MOMENT:
        raise InvalidPropertyError("'occurred_at' is not between 1970 and 2100")
    return at
