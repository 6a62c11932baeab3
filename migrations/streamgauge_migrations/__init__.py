"""The schema: numbered SQL files, applied in order, each in a transaction of its own, under one advisory lock."""

from streamgauge_migrations.apply import check, migrate, versions

__all__ = ["check", "migrate", "versions"]
