-- tenant: a tenant and the time zone it has now
SELECT t.tenant_id, t.cardinality_key,
       array_agg(CASE WHEN z.effective_from = '-infinity' THEN NULL ELSE extract(epoch FROM z.effective_from)::bigint END
                 ORDER BY z.effective_from) AS effective,
       array_agg(z.time_zone ORDER BY z.effective_from) AS zones
FROM tenants t JOIN tenant_time_zones z USING (tenant_id) WHERE t.name = $1 GROUP BY t.tenant_id

-- tenant_create: make a tenant with its time zone; two commands may do so at the same time
WITH made AS (INSERT INTO tenants (name) VALUES ($1) ON CONFLICT (name) DO NOTHING RETURNING tenant_id)
INSERT INTO tenant_time_zones (tenant_id, time_zone) SELECT tenant_id, $2 FROM made

-- import_begin: register an import, whose lane is trusted from then on
INSERT INTO imports (tenant_id, digest, lane, source, options) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, digest) DO NOTHING

-- import: what is known of an import
SELECT lane, options, started_at, finished_at, counts FROM imports WHERE tenant_id = $1 AND digest = $2

-- import_finish: an import is in the tables
UPDATE imports SET finished_at = now(), counts = $2 WHERE lane = $1 AND finished_at IS NULL RETURNING tenant_id

-- tenant_revised: history changed
UPDATE tenants SET revision = revision + 1 WHERE tenant_id = $1

-- import_forget: nothing of it was ever sent
DELETE FROM imports WHERE lane = $1 AND finished_at IS NULL

-- lane: how far the workers are with an import's lane
SELECT shard, done, closed, redelivered FROM lanes WHERE lane = $1 AND shard = ANY($2::smallint[])

-- outcomes: what became of a lane's events
SELECT sum(n) FILTER (WHERE outcomes IS NULL) AS applied, array_agg(outcomes) FILTER (WHERE outcomes IS NOT NULL) AS outcomes
FROM event_log WHERE lane = $1 AND shard = ANY($2::smallint[]) AND applied_day >= ($3::timestamptz AT TIME ZONE 'UTC')::date

-- dead_batches: a lane's batches that were dead-lettered whole, and so never logged
SELECT reason, sum(events) AS events FROM dead_letters
WHERE lane = $1 AND reason IN ('undecodable', 'poison') GROUP BY reason

-- workers_present: whether any worker has been heard of lately
SELECT EXISTS (SELECT 1 FROM workers WHERE seen_at > now() - $1 * interval '1 second')
