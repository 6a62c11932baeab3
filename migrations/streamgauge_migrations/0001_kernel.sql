-- The kernel: tenants, delivery state, summaries, event log, ledgers.
-- Every table a worker writes while it applies a batch carries `shard` first in its key: stripes never contend with each
-- other, one stripe can be rebuilt alone, and a distributed PostgreSQL can place a whole batch on one node.

CREATE TABLE tenants (
    tenant_id       int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- Bumped by whatever changes history: imports, replay, erasure. Verification states belong to a revision.
    revision        bigint NOT NULL DEFAULT 0,
    -- Dense ids for distinct counting: pseudonyms of the tenant's key below 2^31, daily-salted visitors above.
    next_actor      bigint NOT NULL DEFAULT 1 CHECK (next_actor <= 2147483648),
    next_visitor    bigint NOT NULL DEFAULT 2147483648 CHECK (next_visitor <= 4294967296),
    -- Decides which dimension values stay when there are too many; not a secret towards readers of this table.
    cardinality_key bytea NOT NULL DEFAULT uuid_send(gen_random_uuid())
);

-- Settings that all workers of a database have to agree on, because what is stored depends on them.
CREATE TABLE installation (
    name  text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE tenant_time_zones (
    tenant_id      int NOT NULL REFERENCES tenants ON DELETE CASCADE,
    effective_from timestamptz NOT NULL DEFAULT '-infinity',
    time_zone      text NOT NULL,
    PRIMARY KEY (tenant_id, effective_from)
);

-- Delivery ----------------------------------------------------------------------------------------------------------

CREATE TABLE shards (
    shard        smallint PRIMARY KEY,
    generation   smallint NOT NULL,
    number       smallint NOT NULL,
    position_ms  bigint NOT NULL DEFAULT 0,
    position_seq bigint NOT NULL DEFAULT 0,
    epoch        int NOT NULL DEFAULT 0,
    run_id       text,
    birthmark    text,
    token        uuid NOT NULL DEFAULT gen_random_uuid(),
    -- Counted before an attempt whenever the last one did not end in a commit: finds entries that kill their worker.
    attempts     int NOT NULL DEFAULT 0,
    applied_at   timestamptz,
    UNIQUE (generation, number)
);

CREATE TABLE lanes (
    shard       smallint NOT NULL REFERENCES shards,
    lane        bytea NOT NULL CHECK (length(lane) = 16),
    done        int8multirange NOT NULL,
    "end"       bigint NOT NULL,
    closed      boolean NOT NULL,
    born        bigint NOT NULL,
    touched     bigint NOT NULL,
    stray       boolean NOT NULL,
    trusted     boolean NOT NULL,
    scanned     bigint NOT NULL,
    redelivered bigint NOT NULL DEFAULT 0,
    drops       jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (shard, lane)
) WITH (fillfactor = 70);

-- A lane forgotten while unclosed or holed is listed here for good.
CREATE TABLE forgotten_lanes (
    shard        smallint NOT NULL,
    lane         bytea NOT NULL,
    born         bigint NOT NULL,
    "end"        bigint NOT NULL,
    lost         bigint NOT NULL,
    forgotten_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, lane, forgotten_at)
);

CREATE TABLE workers (
    worker_id  uuid PRIMARY KEY,
    host       text NOT NULL,
    pid        int NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE leases (
    shard      smallint PRIMARY KEY REFERENCES shards,
    worker_id  uuid NOT NULL,
    term       bigint NOT NULL DEFAULT 1,
    expires_at timestamptz NOT NULL
);

CREATE TABLE imports (
    tenant_id   int NOT NULL REFERENCES tenants ON DELETE CASCADE,
    digest      bytea NOT NULL,
    lane        bytea NOT NULL UNIQUE CHECK (length(lane) = 16),
    source      text NOT NULL,
    options     jsonb NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    counts      jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, digest)
);

CREATE TABLE event_keys (
    period   int NOT NULL,
    shard    smallint NOT NULL,
    event_id bytea NOT NULL CHECK (length(event_id) = 16),
    PRIMARY KEY (event_id, period)
) PARTITION BY LIST (period);

-- Event log ---------------------------------------------------------------------------------------------------------

-- One row per applied stream entry, frozen as it was sent (compressed), with what was decided about each of its events.
CREATE TABLE event_log (
    applied_day date NOT NULL,
    shard       smallint NOT NULL,
    lane        bytea NOT NULL,
    first       bigint NOT NULL,
    n           int NOT NULL,
    applied_at  timestamptz NOT NULL,
    tenants     int[] NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    -- One byte per event (streamgauge.outcomes.CODES); null: every event was applied.
    outcomes    bytea,
    digest      bytea NOT NULL,
    payload     bytea NOT NULL,
    PRIMARY KEY (applied_day, shard, lane, first)
) PARTITION BY RANGE (applied_day);
CREATE INDEX event_log_by_time ON event_log (first_at, last_at);

CREATE TABLE dead_letters (
    dead_letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard      smallint NOT NULL,
    tenant_id  int,
    lane       bytea,
    number     bigint,
    -- Of the bytes refused: reading an entry again must not count it again.
    content_id bytea NOT NULL UNIQUE,
    events     int NOT NULL DEFAULT 1,
    reason     text NOT NULL,
    detail     text,
    event      jsonb,
    raw        bytea,
    at         timestamptz NOT NULL DEFAULT now()
);

-- Outcome ledger: processed = applied + repeated_key + rejected{reason} + dead_lettered{reason}, per tenant (0: unknown) and
-- UTC hour of application.
CREATE TABLE outcome_ledger (
    shard     smallint NOT NULL,
    tenant_id int NOT NULL,
    hour      timestamptz NOT NULL,
    outcome   text NOT NULL,
    reason    text NOT NULL DEFAULT '',
    events    bigint NOT NULL,
    PRIMARY KEY (shard, tenant_id, hour, outcome, reason)
) WITH (fillfactor = 70);

-- Summaries ---------------------------------------------------------------------------------------------------------

-- A series is one metric of one tenant at one tuple of dimension values, in one stripe. Ids are given out by the stripe's owner.
CREATE TABLE series (
    shard      smallint NOT NULL,
    series_id  int NOT NULL,
    tenant_id  int NOT NULL,
    metric     text NOT NULL,
    grouping   smallint NOT NULL,
    dimensions text[] NOT NULL,
    -- Of (tenant, metric, grouping, dimensions): a tuple of long texts does not fit an index row, its digest does.
    digest     bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()),
    PRIMARY KEY (shard, series_id),
    UNIQUE (shard, digest)
);
CREATE INDEX series_by_metric ON series (tenant_id, metric, grouping);

CREATE TABLE hourly_summary (
    shard     smallint NOT NULL,
    series_id int NOT NULL,
    tenant_id int NOT NULL,
    bucket    timestamptz NOT NULL,
    count     bigint NOT NULL,
    errors    bigint NOT NULL,
    -- Events that carried a value: what sum, min, max and the histogram are over.
    observed  bigint NOT NULL,
    sum       numeric NOT NULL,
    min       bigint,
    max       bigint,
    histogram bytea,
    -- Sums of the rollup's further properties, in the order it declares them; null where no event carried one.
    totals    numeric[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (shard, series_id, bucket)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE daily_summary (LIKE hourly_summary INCLUDING ALL) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- Distinct actors of a summary row: the union of its parts. A batch appends the members it found to be new.
CREATE TABLE summary_members (
    shard     smallint NOT NULL,
    series_id int NOT NULL,
    tenant_id int NOT NULL,
    grain     "char" NOT NULL CHECK (grain IN ('h', 'd')),
    bucket    timestamptz NOT NULL,
    part      int NOT NULL,
    members   bytea NOT NULL,
    PRIMARY KEY (shard, series_id, grain, bucket, part)
);

CREATE TABLE actors (
    tenant_id int NOT NULL,
    pseudonym bytea NOT NULL CHECK (length(pseudonym) = 17),
    actor_id  bigint NOT NULL,
    shard     smallint NOT NULL,
    PRIMARY KEY (tenant_id, pseudonym)
);

-- Which values of a dimension are kept apart on a local day; the others are merged into "(other)".
CREATE TABLE dimension_values (
    shard     smallint NOT NULL,
    tenant_id int NOT NULL,
    dimension text NOT NULL,
    day       timestamptz NOT NULL,
    rank      bigint NOT NULL,
    value     text NOT NULL,
    PRIMARY KEY (shard, tenant_id, dimension, day, rank, value)
);

-- Where values did not fit: readers then keep only the smallest ranks over all stripes.
CREATE TABLE dimension_overflow (
    shard     smallint NOT NULL,
    tenant_id int NOT NULL,
    dimension text NOT NULL,
    day       timestamptz NOT NULL,
    PRIMARY KEY (shard, tenant_id, dimension, day)
);

CREATE TABLE verifications (
    tenant_id   int NOT NULL REFERENCES tenants ON DELETE CASCADE,
    verified_at timestamptz NOT NULL DEFAULT now(),
    revision    bigint NOT NULL,
    first_day   date,
    last_day    date,
    -- What was covered, per shard: the position of the snapshot that was compared.
    positions   jsonb NOT NULL,
    differences int NOT NULL,
    PRIMARY KEY (tenant_id, verified_at)
);

-- For people and for Grafana: stripes merged, names instead of ids.
CREATE VIEW hourly_metrics AS
    SELECT t.name AS tenant, s.metric, s.dimensions, r.bucket, sum(r.count) AS count, sum(r.errors) AS errors,
           sum(r.observed) AS observed, sum(r.sum) AS sum, min(r.min) AS min, max(r.max) AS max,
           sum(r.totals[1]) AS total_1, sum(r.totals[2]) AS total_2, sum(r.totals[3]) AS total_3, sum(r.totals[4]) AS total_4
    FROM hourly_summary r JOIN series s USING (shard, series_id) JOIN tenants t ON t.tenant_id = r.tenant_id
    GROUP BY t.name, s.metric, s.grouping, s.dimensions, r.bucket;

CREATE VIEW daily_metrics AS
    SELECT t.name AS tenant, s.metric, s.dimensions, r.bucket, sum(r.count) AS count, sum(r.errors) AS errors,
           sum(r.observed) AS observed, sum(r.sum) AS sum, min(r.min) AS min, max(r.max) AS max,
           sum(r.totals[1]) AS total_1, sum(r.totals[2]) AS total_2, sum(r.totals[3]) AS total_3, sum(r.totals[4]) AS total_4
    FROM daily_summary r JOIN series s USING (shard, series_id) JOIN tenants t ON t.tenant_id = r.tenant_id
    GROUP BY t.name, s.metric, s.grouping, s.dimensions, r.bucket;
