-- Fairness: every generation of streams has one more, where what a tenant sends above its quota waits behind everybody else's
-- events; and a flood of refused events fills no disk.

ALTER TABLE shards ADD overflow boolean NOT NULL DEFAULT false;
-- Its number is that of the generation's shards, so it comes after theirs; those that are retired have theirs retired.
INSERT INTO shards (shard, generation, number, overflow, retired_at)
SELECT (SELECT max(shard) FROM shards) + row_number() OVER (ORDER BY generation), generation, count(*), true, max(retired_at)
FROM shards GROUP BY generation;
CREATE UNIQUE INDEX shards_overflow ON shards (generation) WHERE overflow;

-- Of a tenant's refused events each shard keeps so many with what they held, for each reason; beyond that they are only counted,
-- here, by hour of application. tenant_id 0: nobody's.
CREATE TABLE dead_letters_counted (
    shard     smallint NOT NULL,
    tenant_id int NOT NULL,
    reason    text NOT NULL,
    hour      timestamptz NOT NULL,
    events    bigint NOT NULL,
    PRIMARY KEY (shard, tenant_id, reason, hour)
);
CREATE INDEX dead_letters_with_content ON dead_letters (shard, coalesce(tenant_id, 0), reason) WHERE state = 'open' AND raw IS NOT NULL;

ALTER TABLE dead_letters_counted ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON dead_letters_counted TO CURRENT_USER, streamgauge_platform USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON dead_letters_counted TO streamgauge_api
    USING (tenant_id = (SELECT nullif(current_setting('streamgauge.tenant_id', true), '')::int))
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('streamgauge.tenant_id', true), '')::int));
GRANT SELECT ON dead_letters_counted TO streamgauge_api, streamgauge_platform;
