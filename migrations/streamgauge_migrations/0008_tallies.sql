-- additive
-- What is kept of each learner, lesson or draft: see streamgauge.summaries.tallies. One table for all declared tallies.

CREATE TABLE tally_rows (
    shard     smallint NOT NULL,
    tenant_id int NOT NULL,
    tally     text NOT NULL,
    -- When the local day or hour begins; 1970 for what is kept for all time.
    bucket    timestamptz NOT NULL,
    -- Of actor and parts: texts may be longer than a row of an index.
    digest    bytea NOT NULL CHECK (length(digest) = 16),
    actor     bytea,
    parts     text[] NOT NULL,
    count     bigint NOT NULL,
    sums      numeric[] NOT NULL,
    greatest  bigint[] NOT NULL,
    -- The first and the last of its events, by (microseconds since 1970, id), and what the last one said.
    first_at  bigint NOT NULL,
    first_id  bytea NOT NULL,
    last_at   bigint NOT NULL,
    last_id   bytea NOT NULL,
    said      jsonb NOT NULL,
    PRIMARY KEY (shard, tenant_id, tally, bucket, digest)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX tally_rows_by_actor ON tally_rows (tenant_id, tally, actor, bucket);
CREATE INDEX tally_rows_by_part ON tally_rows (tenant_id, tally, md5(parts[1]), bucket);

ALTER TABLE tally_rows ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON tally_rows TO CURRENT_USER, streamgauge_platform USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON tally_rows TO streamgauge_api
    USING (tenant_id = (SELECT nullif(current_setting('streamgauge.tenant_id', true), '')::int))
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('streamgauge.tenant_id', true), '')::int));
GRANT SELECT ON tally_rows TO streamgauge_api;
