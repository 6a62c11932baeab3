-- Days of the event log that were written to Parquet, one row per day, shard and part.

-- `written`: the file is there, and the log still holds the entries, so they are read from the log. `archived`: the log holds them no
-- more; this is set in the transaction that drops the log's partition, so an entry is in exactly one of the two.
CREATE TABLE archives (
    applied_day   date NOT NULL,
    shard         smallint NOT NULL,
    -- More than one where entries of a day came after it was archived, as when a clock was set back.
    part          smallint NOT NULL,
    state         text NOT NULL DEFAULT 'written' CHECK (state IN ('written', 'archived')),
    -- Bumped when the file is written anew without a tenant's events. Part of the file's name, so that a name stands for one content.
    revision      int NOT NULL DEFAULT 0,
    file          text NOT NULL UNIQUE,
    bytes         bigint NOT NULL,
    sha256        bytea NOT NULL CHECK (length(sha256) = 32),
    -- Over names and digests of the log's entries: what is dropped is what was written.
    content       bytea NOT NULL CHECK (length(content) = 32),
    entries       bigint NOT NULL,
    events        bigint NOT NULL,
    first_applied timestamptz NOT NULL,
    last_applied  timestamptz NOT NULL,
    first_at      timestamptz NOT NULL,
    last_at       timestamptz NOT NULL,
    -- Whose events the file holds (0: of unknown tenants), and whose were taken out since because their retention was over.
    tenants       int[] NOT NULL,
    expired       int[] NOT NULL DEFAULT '{}',
    -- The seal: what is left to verify with when the file is gone. Events by [hour, tenant, outcome's code, events], the numbers of
    -- every lane, and the summary rows that these events alone amount to, for these metrics; the digest is over all of them.
    counts        jsonb NOT NULL,
    lanes         bytea NOT NULL,
    summaries     bytea NOT NULL,
    metrics       text[] NOT NULL,
    seal          bytea NOT NULL CHECK (length(seal) = 32),
    -- Former files that are still to be removed.
    obsolete      text[] NOT NULL DEFAULT '{}',
    written_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (applied_day, shard, part)
);

-- It holds figures of several tenants: worker and commands read it, and nobody else.
ALTER TABLE archives ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON archives TO CURRENT_USER USING (true) WITH CHECK (true);
