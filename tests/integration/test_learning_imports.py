"""Learning records get into the tables whole and once: OULAD, statements of xAPI, tables with a mapping."""

import gzip
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from streamgauge.capture.pseudonyms import Keyring
from streamgauge.catalogue import CATALOGUE
from streamgauge.database import Connection, open_connection
from streamgauge.entities.stored import StoredTallies
from streamgauge.errors import InputError
from streamgauge.settings import Settings
from streamgauge.summaries.calendar import Calendar
from streamgauge_imports.accounting import Result
from streamgauge_imports.csv_mapping import parse_mapping
from streamgauge_imports.importing import Order, deliver
from streamgauge_imports.learning_orders import csv_order, oulad_orders, together, xapi_order
from streamgauge_imports.oulad_folder import find_folder
from streamgauge_imports.progress import Lines
from streamgauge_imports.text_files import examine_text

DATA = Path(__file__).resolve().parents[1] / "data" / "oulad"
FACTS = json.loads((DATA / "facts.json").read_text())
START = date(2013, 10, 1)
ZONE = (
    "Pacific/Auckland"  # where the clock is put forward within these days, and noon is the day before in UTC
)


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, database_url: str) -> Settings:
    (tmp_path / "data" / "logs").mkdir(parents=True)
    return Settings(redis_url, database_url, tmp_path / "data", lease_seconds=1)


async def carried_out(orders: Sequence[Order], settings: Settings) -> Result:
    assert settings.redis_url is not None
    assert settings.database_url is not None
    shown = Lines("import", 0)
    return together(
        [
            (await deliver(order, settings, settings.redis_url, settings.database_url, shown)).result
            for order in orders
        ]
    )


@asynccontextmanager
async def tallies(settings: Settings, tenant: str = "school") -> AsyncIterator[StoredTallies]:
    assert settings.database_url is not None
    connection = await open_connection(settings.database_url)
    try:
        yield StoredTallies(connection, await tenant_id(connection, tenant), None)
    finally:
        await connection.close()


async def tenant_id(connection: Connection, tenant: str) -> int:
    return int(await connection.fetchval("SELECT tenant_id FROM tenants WHERE name = $1", tenant))


async def test_the_oulad_sample_has_the_totals_and_streaks_that_pandas_finds(settings: Settings) -> None:
    orders = oulad_orders(find_folder(DATA), settings, tenant="school", start=START, time_zone=ZONE)
    result = await carried_out(orders, settings)
    assert result.accounted
    assert (result.read, result.applied, result.duplicate, result.rejected, result.dead_lettered) == (
        FACTS["rows"] + FACTS["learners"], FACTS["rows"] + FACTS["learners"], 0, {}, {},
    )  # fmt: skip
    assert (FACTS["clicks"], FACTS["learners"]) == (61_980, 364)
    calendar = Calendar([(None, ZONE)])
    keys = Keyring(settings.keyring).tenant("school")
    async with tallies(settings) as rows:
        everything = await rows.totals("learning.materials")
        assert [(each.actors, each.sums[0]) for each in everything.values()] == [(364, 61_980)]

        days = await rows.totals("learning.materials", ["bucket"])
        assert {
            str((calendar.date_of(group.bucket or 0) - START).days): [each.count, each.sums[0], each.actors]
            for group, each in days.items()
        } == FACTS["days"]
        materials = await rows.totals("learning.materials", [1])
        types = {key.parts[0]: state.said for key, state in (await rows.states("learning.materials")).items()}
        assert {
            group.parts[0]: [each.count, each.sums[0], each.actors, types[group.parts[0]]["material.type"]]
            for group, each in materials.items()
        } == FACTS["materials"]

        views = await rows.totals("learning.activity", ["actor", "bucket"], part="material.viewed")
        active: dict[bytes, list[date]] = {}
        clicks: dict[bytes, int] = {}
        for group, total in views.items():
            assert group.actor is not None
            active.setdefault(group.actor, []).append(calendar.date_of(group.bucket or 0))
            clicks[group.actor] = clicks.get(group.actor, 0) + total.sums[2]
        found = {
            actor: [clicks[actor], len(dates), longest_run(dates), (min(dates) - START).days]
            for actor, dates in active.items()
        }
        assert found == {
            keys.pseudonym("actor", student): told for student, told in FACTS["learners_days"].items()
        }
        enrolled = await rows.states("learning.enrolments")
        assert {
            key.actor: calendar.day_of(state.first.at // 1_000_000) for key, state in enrolled.items()
        } == {actor: calendar.day_start(min(dates)) for actor, dates in active.items()}
        assert {key.parts for key in enrolled} == {("AAA-2013J",)}
        # Noon, also on the day after the clock was put forward.
        hours = await rows.totals("learning.hours", ["bucket"])
        assert {calendar.local_iso(group.bucket or 0)[11:16] for group in hours} == {"12:00"}

    again = await carried_out(orders, settings)
    assert (again.applied, again.duplicate, again.accounted) == (0, result.read, True)
    assert again.finished_before is not None


def longest_run(dates: list[date]) -> int:
    """Days of the longest unbroken run."""
    longest = run = 1
    for one, other in pairwise(sorted(dates)):
        run = run + 1 if other - one == timedelta(1) else 1
        longest = max(longest, run)
    return longest


async def test_what_was_handed_in_is_imported_also_when_its_file_comes_later(
    tmp_path: Path, settings: Settings
) -> None:
    folder = tmp_path / "oulad"
    folder.mkdir()
    (folder / "studentVle.csv").write_text(
        "code_module,code_presentation,id_student,id_site,date,sum_click\n"
        "AAA,2013J,1,7,-3,4\nAAA,2013J,1,7,-3,4\nAAA,2013J,2,8,0,x\nAAA,2013J,3,8,0\n"
    )
    first = find_folder(folder)
    assert len(first.missing) == 3
    result = await carried_out(oulad_orders(first, settings, tenant="school", start=START), settings)
    assert result.accounted
    assert (result.applied, result.rejected) == (4, {"invalid_number": 1, "wrong_width": 1})
    assert result.rejected_lines[0] == (
        4, "invalid_number: studentVle.csv: column sum_click is no whole number of up to 9 digits",
    )  # fmt: skip
    (folder / "assessments.csv.gz").write_bytes(gzip.compress(
        b'"code_module","code_presentation","id_assessment","assessment_type","date","weight"\nAAA,2013J,11,TMA,19,10\n'
    ))  # fmt: skip
    (folder / "studentAssessment.csv").write_text(
        "id_assessment,id_student,date_submitted,is_banked,score\n"
        "11,1,18,0,78\n11,4,20,0,?\n11,5,-1,1,60\n12,1,3,0,50\n11,6,3,0,140\n"
    )
    second = find_folder(folder)
    assert second.missing == ["vle.csv is not there: materials have no type"]
    result = await carried_out(oulad_orders(second, settings, tenant="school", start=START), settings)
    assert result.accounted
    assert (result.applied, result.duplicate) == (4, 4)
    assert result.rejected == {
        "invalid_number": 1, "wrong_width": 1, "banked": 1, "unknown_assessment": 1, "invalid_property": 1,
    }  # fmt: skip
    keys = Keyring(settings.keyring).tenant("school")
    async with tallies(settings) as rows:
        (views,) = (await rows.totals("learning.materials")).values()
        assert (views.count, views.sums) == (2, (8,))
        submissions = await rows.states("learning.submissions")
        assert {key.actor: state.said.get("score") for key, state in submissions.items()} == {
            keys.pseudonym("actor", "1"): 78, keys.pseudonym("actor", "4"): None,
        }  # fmt: skip
        enrolled = await rows.states("learning.enrolments")
        # 2 appeared with a row that says nothing else, and 6 with a score that cannot be.
        assert {key.actor for key in enrolled} == {keys.pseudonym("actor", each) for each in "1246"}


def statement(verb: str, number: int, actor: str = "ada", **more: Any) -> dict[str, Any]:
    return {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "actor": {"account": {"homePage": "https://school.example", "name": actor}},
        "verb": {"id": f"http://adlnet.gov/expapi/verbs/{verb}"},
        "object": {"id": f"https://school.example/{number % 5}"},
        "timestamp": "2019-05-06T07:08:09Z",
        **more,
    }


async def test_statements_of_a_file_are_imported_once_without_those_that_it_voids(
    tmp_path: Path, settings: Settings
) -> None:
    experienced = [statement("experienced", number) for number in range(20)]
    void = statement("voided", 100, object={"objectType": "StatementRef", "id": experienced[3]["id"]})
    late = statement("voided", 101, object={"objectType": "StatementRef", "id": statement("", 999)["id"]})
    other = statement("liked", 102)
    lines = [json.dumps(each) for each in (void, *experienced, late, other)]
    path = tmp_path / "statements.jsonl"
    path.write_text("\n".join([*lines, "{broken", "", ""]))
    result = await carried_out([xapi_order(examine_text(path), settings, tenant="school")], settings)
    assert result.accounted
    assert (result.read, result.applied) == (24, 19)
    assert result.rejected == {"voided": 1, "voiding": 1, "cannot_void": 1, "unmapped_verb": 1, "not_json": 1}
    # Another export has some of the same statements: they are known by their ids.
    more = tmp_path / "export.json"
    more.write_text(json.dumps({"statements": [*experienced[10:], statement("experienced", 30)], "more": ""}))
    result = await carried_out([xapi_order(examine_text(more), settings, tenant="school")], settings)
    assert (result.read, result.applied, result.duplicate, result.accounted) == (11, 1, 10, True)
    async with tallies(settings) as rows:
        (whole,) = (await rows.totals("learning.materials")).values()
        assert (whole.count, whole.actors) == (20, 1)


async def test_a_table_is_imported_as_its_mapping_says_and_nothing_is_lost_to_bad_rows(
    tmp_path: Path, settings: Settings
) -> None:
    mapping = parse_mapping(
        {
            "event": {"constant": "quiz.attempted"}, "occurred_at": "when", "actor": "who", "delimiter": ";",
            "properties": {"quiz.id": "quiz", "score": {"column": "points", "type": "int"}, "max_score": {"constant": 10}},
        },
        CATALOGUE.event_types,
    )  # fmt: skip
    good = [f"ada;2019-05-{day:02}T10:00:00;q{day % 3};{day % 11}" for day in range(1, 29)]
    bad = [
        "bob;yesterday;q;1",
        "bob;2019-05-01;q;11",
        "bob;2019-05-01;q;one",
        'bob;2019-05-01;"q;1',
        "bob;2019-05-01",
    ]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["who;when;quiz;points", *good[:10], *bad, *good[10:]]) + "\n")
    order = csv_order(examine_text(path), mapping, settings, tenant="school")
    result = await carried_out([order], settings)
    assert result.accounted
    assert (result.read, result.applied) == (33, 28)
    assert result.rejected == {
        "invalid_time": 1, "invalid_property": 1, "invalid_number": 1, "unterminated_quote": 1, "wrong_width": 1,
    }  # fmt: skip
    assert result.rejected_lines[1:3] == [
        (13, "invalid_property: property 'score' is above 'max_score'"),
        (14, "invalid_number: column points: is no whole number within ±2**53"),
    ]
    async with tallies(settings) as rows:
        (whole,) = (await rows.totals("learning.attempts")).values()
        assert (whole.count, whole.sums[:2]) == (28, (sum(day % 11 for day in range(1, 29)), 280))
    # Cut short, it is finished by running it again; the rows of before are known by their numbers.
    connection = await open_connection(settings.database_url or "")
    try:
        await connection.execute("UPDATE imports SET finished_at = NULL")
    finally:
        await connection.close()
    again = await carried_out([order], settings)
    assert (again.applied, again.duplicate, again.accounted) == (0, 28, True)
    path.write_text(path.read_text() + good[0] + "\n")
    with pytest.raises(InputError, match="written to while it was imported"):
        await carried_out([csv_order(examine_text(path)._replace(signature=order_signature(path)), mapping, settings, tenant="school")], settings)  # fmt: skip


def order_signature(path: Path) -> Any:
    """What a file looked like that was shorter."""
    found = examine_text(path).signature
    return found._replace(size=found.size - 1)
