"""The schema: numbered SQL files, applied in order, each in a transaction of its own under an advisory lock."""

from streamgauge_migrations.apply import check, migrate, require_current, versions

__all__ = ["check", "migrate", "require_current", "versions"]
