"""The worker's Prometheus metrics, every name in one place."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

RECEIVED = Counter(
    "streamgauge_events_received", "Events read from the streams, redeliveries included.", registry=REGISTRY
)
OUTCOMES = Counter(
    "streamgauge_events", "Events by what became of them.", ["outcome", "reason"], registry=REGISTRY
)
NOT_KEPT = Counter(
    "streamgauge_refused_not_kept",
    "Refused events that are only counted: enough of the kind wait as dead letters.",
    ["reason"],
    registry=REGISTRY,
)
REDELIVERED = Counter(
    "streamgauge_events_redelivered", "Events delivered again and dropped.", registry=REGISTRY
)
FENCED = Counter(
    "streamgauge_transactions_fenced",
    "Transactions refused because another writer moved the token.",
    registry=REGISTRY,
)
FAILURES = Counter(
    "streamgauge_failures", "Errors after which a shard was read again.", ["kind"], registry=REGISTRY
)
EPOCHS = Counter(
    "streamgauge_history_changes", "Changes of a stream's history that were noticed.", registry=REGISTRY
)
TRIMMED = Counter(
    "streamgauge_entries_trimmed",
    "Entries removed from the streams behind the durable position.",
    registry=REGISTRY,
)
SHARDS = Gauge("streamgauge_shards_held", "Shards this worker holds a lease of.", registry=REGISTRY)
STOPPED = Gauge(
    "streamgauge_shard_stopped",
    "1: too large a share of the shard's events would be refused, so it waits.",
    ["shard"],
    registry=REGISTRY,
)
LAG_SECONDS = Gauge(
    "streamgauge_lag_seconds",
    "Age of the oldest entry that is not applied yet.",
    ["shard"],
    registry=REGISTRY,
)
LAG_ENTRIES = Gauge(
    "streamgauge_lag_entries", "Entries that are not applied yet.", ["shard"], registry=REGISTRY
)
RETIRED_ENTRIES = Gauge(
    "streamgauge_retired_entries",
    "Entries in the streams of generations that nobody reads any more.",
    ["generation"],
    registry=REGISTRY,
)
LOG_BYTES = Gauge("streamgauge_log_bytes", "Bytes of the event log in PostgreSQL.", registry=REGISTRY)
LOG_OLDEST = Gauge("streamgauge_log_oldest_seconds", "Age of the event log's oldest day.", registry=REGISTRY)
ARCHIVED_DAYS = Gauge("streamgauge_archived_days", "Days of the event log in archives.", registry=REGISTRY)
ARCHIVE_BYTES = Gauge("streamgauge_archive_bytes", "Bytes of all archives.", registry=REGISTRY)
ARCHIVE_FAILURES = Counter(
    "streamgauge_archive_failures", "Times the event log could not be archived.", registry=REGISTRY
)
BATCH = Histogram(
    "streamgauge_batch_events", "Events per transaction.", registry=REGISTRY,
    buckets=(1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000),
)  # fmt: skip
TRANSACTION = Histogram(
    "streamgauge_transaction_seconds", "Seconds from the token's swap to the commit.", registry=REGISTRY,
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)  # fmt: skip
