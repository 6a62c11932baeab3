"""The SQL of this package, by name."""

from streamgauge.sql import named_queries

SQL = named_queries("streamgauge_imports")
