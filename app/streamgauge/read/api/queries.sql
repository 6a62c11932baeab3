-- What the API's routes read beside summaries.

-- version: everything that a tenant's answers depend on, and the database's clock. A shard's token changes with every transaction of it.
SELECT t.tenant_id, t.revision, floor(extract(epoch FROM now()))::bigint AS clock,
       (SELECT string_agg(z.effective_from || ' ' || z.time_zone, ',' ORDER BY z.effective_from)
        FROM tenant_time_zones z WHERE z.tenant_id = t.tenant_id) AS zones,
       (SELECT string_agg(s.shard || ' ' || s.token, ',' ORDER BY s.shard) FROM shards s) AS tokens,
       (SELECT max(v.verified_at)::text FROM verifications v WHERE v.tenant_id = t.tenant_id) AS verified
FROM tenants t WHERE t.name = $1

-- activities: the newest events of every stripe
SELECT activities FROM recent_activity WHERE tenant_id = $1 AND shard IN (SELECT shard FROM shards)

-- present: distinct actors of ten-second buckets, as parts
SELECT members FROM recent_actors
WHERE tenant_id = $1 AND shard IN (SELECT shard FROM shards) AND bucket >= to_timestamp($2::bigint) AND bucket < to_timestamp($3::bigint)

-- outcomes: what became of a tenant's events, by UTC hour in which they were applied
SELECT extract(epoch FROM hour)::bigint AS hour, outcome, reason, sum(events)::bigint AS events FROM outcome_ledger
WHERE tenant_id = $1 AND hour >= to_timestamp($2::bigint) AND hour < to_timestamp($3::bigint)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3

-- transport: what all lanes announced, and what of it was processed
SELECT coalesce(sum("end"), 0)::bigint AS announced,
       coalesce(sum((SELECT sum(upper(r) - lower(r)) FROM unnest(done) r)), 0)::bigint AS processed,
       coalesce(sum("end" - (
           SELECT coalesce(sum(least(upper(r), "end") - lower(r)), 0) FROM unnest(done) r WHERE lower(r) < "end"
       )) FILTER (WHERE NOT stray), 0)::bigint AS missing,
       coalesce(sum(redelivered), 0)::bigint AS redelivered,
       (SELECT coalesce(sum(lost), 0)::bigint FROM forgotten_lanes) AS lost_by_forgotten
FROM lanes

-- drops: what producers say they dropped before it was numbered
SELECT reason, sum(events::bigint)::bigint AS events FROM lanes, jsonb_each_text(drops) AS d (reason, events) GROUP BY reason ORDER BY reason

-- workers: who works
SELECT host, pid, started_at, seen_at, extract(epoch FROM now() - seen_at)::float8 AS silent_seconds FROM workers ORDER BY worker_id

-- leases: who holds which shard
SELECT s.number AS shard, l.expires_at > now() AS held FROM shards s LEFT JOIN leases l USING (shard) WHERE s.generation = $1 ORDER BY s.number
