"""`streamgauge query`: a question in, one JSON object out."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from streamgauge.catalogue import load_catalogue
from streamgauge.database import open_connection
from streamgauge.errors import InputError
from streamgauge.read.answer import answer
from streamgauge.read.query import MOST_BYTES, parse_query
from streamgauge_cli import session

APPLICATION_NAME = "streamgauge query"


async def query(
    text: Annotated[
        str,
        typer.Argument(help="The question as JSON; `-` reads it from standard input, `@FILE` from a file."),
    ],
) -> None:
    """Answer a question from the summaries, in the shape of Plausible's Stats API v2, as one JSON object.

    Example: streamgauge query '{"tenant": "shop", "metrics": ["requests"], "date_range": "7d", "dimensions": ["time:day"]}'
    """
    question = read_question(text)
    settings = session.settings()
    catalogue = load_catalogue(settings)
    parse_query(question, catalogue)  # a mistake is told before any server is started for it
    async with session.servers(settings) as endpoints:
        connection = await open_connection(endpoints.database_url, application_name=APPLICATION_NAME)
        try:
            found = await answer(
                connection,
                question,
                cardinality_limit=settings.cardinality_limit,
                max_lateness=timedelta(days=settings.max_lateness_days),
                catalogue=catalogue,
            )
        finally:
            await connection.close()
    typer.echo(found)


def read_question(text: str) -> bytes:
    """The question's bytes, from the argument itself, standard input or a file. Raises InputError when there is none."""
    if text == "-":
        # One byte more than allowed, so that a question that is too long is told so without reading all of it.
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        with Path(text[1:]).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"the file {text[1:]!r} cannot be read: {reason}; name a file that holds a query", "query"
        ) from None
