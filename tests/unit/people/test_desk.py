"""What one server reads at the same time is bounded."""

from unittest.mock import patch

import pytest
from prometheus_client import CollectorRegistry

from streamgauge.catalogue import CATALOGUE
from streamgauge.directory.directory import NoDirectory
from streamgauge.errors import ServerError
from streamgauge.people import desk
from streamgauge.people.desk import People, directory_of
from streamgauge.settings import Settings


def people() -> People:
    return People(CATALOGUE, NoDirectory(), lambda tenant, external: bytes(17), CollectorRegistry())


async def test_only_some_read_the_log_at_the_same_time_and_the_others_are_told() -> None:
    found = people()
    with patch.object(desk, "READERS", 1), patch.object(desk, "PATIENCE", 0.01):
        found = people()
        async with found.reading():
            with pytest.raises(ServerError, match="reading the event log"):
                async with found.reading():
                    pass
        # What went wrong in between holds nobody's place.
        with pytest.raises(ZeroDivisionError):
            async with found.reading():
                raise ZeroDivisionError
        async with found.reading() as budget:
            assert not budget.spent


async def test_everybody_has_a_name_and_visitors_are_not_asked_about() -> None:
    asked = []

    class Directory(NoDirectory):
        async def names(self, tenant: str, pseudonyms: object) -> dict[bytes, str]:
            asked.append(pseudonyms)
            return {somebody: "Ada"}

    somebody, other, visitor = (bytes([version]) + bytes([version]) * 16 for version in (1, 2, 0))
    found = people()
    found.directory = Directory()
    names = await found.names("school", [somebody, other, visitor])
    assert names[somebody] == "Ada"
    assert {len(names[each]) for each in (other, visitor)} == {len("user_123456")}
    assert asked == [[somebody, other]]
    assert await found.names("school", [visitor]) == {visitor: names[visitor]}
    assert len(asked) == 1


def test_without_an_address_there_is_no_directory() -> None:
    assert isinstance(directory_of(Settings()), NoDirectory)
