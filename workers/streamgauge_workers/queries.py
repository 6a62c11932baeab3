"""The worker's named queries."""

from streamgauge.sql import named_queries

SQL = named_queries("streamgauge_workers")
