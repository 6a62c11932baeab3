"""Groups - classes, teams - with members and managers, set as a whole: twice the same changes nothing."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from streamgauge.database import Connection
from streamgauge.errors import InputError
from streamgauge.tenants.records import LONGEST_ID
from streamgauge.tenants.store import SQL, check_id, check_text

MOST_GROUPS = 1_000  # of a tenant
MOST_MEMBERS = 20_000  # set at once, managers included
LONGEST_EXTERNAL = 512  # characters, as when events are tracked
COLUMNS = ("group", "name", "kind", "actor", "role")

#: The pseudonym of an external identifier.
Pseudonym = Callable[[str], bytes]


class Group(BaseModel):
    """A class or a team."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "7b", "name": "Class 7b", "kind": "class", "members": 28, "managers": 2, "created_at": "2026-01-01T00:00:00Z",
                }
            ]
        }
    )  # fmt: skip

    id: str
    name: str
    kind: str = Field(description="Such as class or team.")
    members: int
    managers: int
    created_at: datetime


class Groups(BaseModel):
    """Groups by id; `next` goes on where these end."""

    groups: list[Group]
    next: str | None = Field(description="To be given as `after`; null at the end.")


class GroupContent(BaseModel):
    """A group as it is to be. People are named by the application's own identifiers, of which only pseudonyms are kept."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "Class 7b", "kind": "class", "members": ["u-17"], "managers": ["t-3"]}]
        },
    )

    name: str = Field(default="", max_length=200)
    kind: str = Field(default="", max_length=50)
    members: list[str] = Field(default_factory=list, max_length=MOST_MEMBERS)
    managers: list[str] = Field(default_factory=list, max_length=MOST_MEMBERS)


class NamedGroup(GroupContent):
    """A group among several."""

    id: str = Field(min_length=1, max_length=LONGEST_ID)


class SeveralGroups(BaseModel):
    """Groups as they are to be; others stay as they are."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"groups": [{"id": "7b", "members": ["u-17", "u-18"], "managers": ["t-3"]}]}]
        },
    )

    groups: list[NamedGroup] = Field(min_length=1, max_length=MOST_GROUPS)


class GroupChanges(BaseModel):
    """What was different; all zero when it was so already."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"groups": 1, "added": 2, "changed": 0, "removed": 0}]}
    )

    groups: int = Field(description="How many were given.")
    added: int = Field(description="People who were not in their group.")
    changed: int = Field(description="People who became manager, or are none any more.")
    removed: int = Field(description="People who are not in their group any more.")


async def listed(
    connection: Connection, tenant_id: int, after: str | None = None, limit: int = 100
) -> list[Group]:
    """A tenant's groups by id, after one of them."""
    rows = await connection.fetch(SQL["groups"], tenant_id, None, after, limit)
    return [Group(**{**dict(row), "id": row["group_id"]}) for row in rows]


async def found(connection: Connection, tenant_id: int, group_id: str) -> Group | None:
    """One group."""
    row = await connection.fetchrow(SQL["groups"], tenant_id, group_id, None, 1)
    return None if row is None else Group(**{**dict(row), "id": row["group_id"]})


async def put(
    connection: Connection, tenant_id: int, groups: Sequence[NamedGroup], pseudonym: Pseudonym
) -> GroupChanges:
    """Let these groups be so. Raises InputError for what cannot be; then nothing has changed."""
    places = _places(groups, pseudonym)
    ids = [group.id for group in groups]
    others = await connection.fetchval(SQL["group_count"], tenant_id, ids)
    if others + len(ids) > MOST_GROUPS:
        raise InputError(f"a tenant has up to {MOST_GROUPS} groups; there are {others} others", "groups")
    await connection.execute(
        SQL["groups_keep"], tenant_id, ids, [group.name for group in groups], [group.kind for group in groups]
    )
    # In one order, so that two who set the same groups at once wait for each other instead of forever.
    keys = sorted(places)
    columns = [group for group, _ in keys], [actor for _, actor in keys]
    removed = await connection.fetchval(SQL["members_leave"], tenant_id, ids, *columns)
    joined = await connection.fetchrow(
        SQL["members_join"], tenant_id, *columns, [places[key] for key in keys]
    )
    added, changed = (0, 0) if joined is None else (joined["added"], joined["changed"])
    return GroupChanges(groups=len(ids), added=added, changed=changed, removed=removed)


async def remove(connection: Connection, tenant_id: int, group_id: str) -> bool:
    """Remove a group; whether it was there."""
    return await connection.fetchval(SQL["group_remove"], tenant_id, group_id) is not None


def read_csv(text: str) -> list[NamedGroup]:
    """Groups from a file with the columns group, name, kind, actor and role (member or manager), one person a line.

    Columns but group and actor may be missing. A line without an actor makes an empty group. Raises InputError that names the line.
    """
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    groups: dict[str, NamedGroup] = {}
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        if not {"group", "actor"} <= set(header) <= set(COLUMNS) or len(set(header)) != len(header):
            raise InputError(
                f"the first line has to name columns of {', '.join(COLUMNS)}, each once: {header}"[:300],
                "body",
            )
        for cells in rows:
            if cells:
                _add(
                    groups,
                    dict(zip(header, (cell.strip() for cell in cells), strict=False)),
                    rows.line_num,
                    len(cells),
                    len(header),
                )
    except csv.Error as error:
        raise InputError(f"line {rows.line_num} is not CSV: {error}", "body") from None
    if not groups:
        raise InputError("there are no lines below the first one", "body")
    return list(groups.values())


def _add(groups: dict[str, NamedGroup], row: dict[str, str], line: int, cells: int, columns: int) -> None:
    if cells != columns:
        raise InputError(f"line {line} has {cells} columns, and the first line {columns}", "body")
    group_id, role = row["group"], row.get("role") or "member"
    if role not in ("member", "manager"):
        raise InputError(f"line {line}: role is member or manager, not {role[:50]!r}", "role")
    if not 0 < len(group_id) <= LONGEST_ID:
        raise InputError(f"line {line}: group has 1 to {LONGEST_ID} characters", "group")
    group = groups.setdefault(
        group_id, NamedGroup(id=group_id, name=row.get("name", "")[:200], kind=row.get("kind", "")[:50])
    )
    if row["actor"]:
        (group.managers if role == "manager" else group.members).append(row["actor"])


def _places(groups: Iterable[NamedGroup], pseudonym: Pseudonym) -> dict[tuple[str, bytes], bool]:
    """Who is in which group, and whether as its manager: who is given as both is one."""
    places: dict[tuple[str, bytes], bool] = {}
    seen: set[str] = set()
    for group in groups:
        check_id(group.id)
        check_text(group.name, "name")
        check_text(group.kind, "kind")
        if group.id in seen:
            raise InputError(f"group {group.id!r} is given twice", "groups")
        seen.add(group.id)
        for people, manager in ((group.members, False), (group.managers, True)):
            for external in people:
                if not 0 < len(external) <= LONGEST_EXTERNAL:
                    raise InputError(
                        f"group {group.id!r}: an identifier has 1 to {LONGEST_EXTERNAL} characters", "members"
                    )
                places[group.id, pseudonym(external)] = manager
    if len(places) > MOST_MEMBERS:
        raise InputError(
            f"at most {MOST_MEMBERS} people can be set at once: {len(places)} are given", "members"
        )
    return places
