"""What a tenant is, as people and programs see it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["active", "suspended", "deleting"]
LONGEST_NAME = 200  # characters
LONGEST_ID = 100
MOST_RETENTION = 3_650  # days
MOST_A_MINUTE = 10_000_000


class Policies(BaseModel):
    """What a tenant's admins decide."""

    model_config = ConfigDict(extra="forbid")

    people: bool = Field(
        default=True,
        description="Whether rows about people - actors, sessions, events - may be read over the API.",
    )


class Budgets(BaseModel):
    """What the platform allows a tenant, beside the limits of each credential; null: no more than those."""

    model_config = ConfigDict(extra="forbid")

    requests_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=MOST_A_MINUTE,
        description="Requests to the API, of all its credentials together.",
    )


class NextZone(BaseModel):
    """A time zone that is to be."""

    time_zone: str
    effective_from: datetime


class Tenant(BaseModel):
    """A school or organisation."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "riverside",
                    "name": "Riverside School",
                    "status": "active",
                    "time_zone": "Europe/Berlin",
                    "next_time_zone": None,
                    "retention_days": 30,
                    "policies": {"people": True},
                    "budgets": {"requests_per_minute": None},
                    "created_at": "2026-01-01T00:00:00Z",
                }
            ]
        }
    )

    id: str = Field(description="What its events carry; it never changes.")
    name: str
    status: Status
    time_zone: str = Field(description="IANA time zone of its hours and days.")
    next_time_zone: NextZone | None
    retention_days: int | None = Field(
        description="Days its single events are kept; null: as the installation. Recorded; nothing is dropped by it yet."
    )
    policies: Policies
    budgets: Budgets
    created_at: datetime


class Tenants(BaseModel):
    """Tenants by id; `next` goes on where these end."""

    tenants: list[Tenant]
    next: str | None = Field(description="To be given as `after`; null at the end.")


class NewTenant(BaseModel):
    """A tenant to be made."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"id": "riverside", "time_zone": "Europe/Berlin"}]}
    )

    id: str = Field(min_length=1, max_length=LONGEST_ID)
    name: str = Field(default="", max_length=LONGEST_NAME)
    time_zone: str = Field(default="UTC", max_length=64)
    retention_days: int | None = Field(default=None, ge=1, le=MOST_RETENTION)
    policies: Policies = Policies()
    budgets: Budgets = Budgets()


class TenantChange(BaseModel):
    """What is to be different; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "Riverside School"}, {"status": "suspended"}]},
    )

    name: str | None = Field(default=None, max_length=LONGEST_NAME)
    time_zone: str | None = Field(
        default=None, max_length=64, description="From the first whole hour at least ten minutes ahead."
    )
    retention_days: int | None = Field(default=None, ge=1, le=MOST_RETENTION)
    policies: Policies | None = None
    budgets: Budgets | None = Field(default=None, description="The platform's to change.")
    status: Literal["active", "suspended"] | None = Field(
        default=None, description="The platform's to change."
    )


class Receipt(BaseModel):
    """What became of a deletion: asked for, and once `deleted_at` is there, what was deleted and what is left on purpose."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "receipt_id": "7b6bbcae-a644-4b55-a04d-bebe6e6a71fd",
                    "tenant": "riverside",
                    "requested_at": "2026-01-01T00:00:00Z",
                    "deleted_at": None,
                    "content": None,
                }
            ]
        }
    )

    receipt_id: str
    tenant: str
    requested_at: datetime
    deleted_at: datetime | None
    content: dict[str, object] | None
