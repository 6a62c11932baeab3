-- What the API's routes read beside summaries.

-- version: everything that a tenant's answers depend on, and the database's clock. A shard's token changes with every transaction of it.
SELECT t.tenant_id, t.revision, floor(extract(epoch FROM now()))::bigint AS clock,
       (SELECT string_agg(z.effective_from || ' ' || z.time_zone, ',' ORDER BY z.effective_from)
        FROM tenant_time_zones z WHERE z.tenant_id = t.tenant_id) AS zones,
       (SELECT string_agg(s.shard || ' ' || s.token, ',' ORDER BY s.shard) FROM shards s) AS tokens,
       (SELECT max(v.verified_at)::text FROM verifications v WHERE v.tenant_id = t.tenant_id) AS verified
FROM tenants t WHERE t.name = $1

-- activities: the newest events of every stripe
SELECT activities FROM recent_activity WHERE tenant_id = $1 AND shard IN (SELECT shard FROM shards) ORDER BY shard

-- present: distinct actors of ten-second buckets, as parts
SELECT members FROM recent_actors
WHERE tenant_id = $1 AND shard IN (SELECT shard FROM shards) AND bucket >= to_timestamp($2::bigint) AND bucket < to_timestamp($3::bigint)

-- outcomes: a tenant's events by the UTC hour in which they were processed and what became of them; without outcome, all of the hour
SELECT extract(epoch FROM hour)::bigint AS hour, outcome, reason, sum(events)::bigint AS events FROM outcome_ledger
WHERE tenant_id = $1 AND hour >= to_timestamp($2::bigint) AND hour < to_timestamp($3::bigint)
GROUP BY GROUPING SETS ((hour, outcome, reason), (hour)) ORDER BY 1, 2, 3

-- transport: the sums of every lane's ledger. Below an announced end what is missing is lost, above it pending; nothing is known to
-- miss from a stray, which has announced what was processed.
SELECT coalesce(sum(CASE WHEN stray THEN d.size ELSE greatest("end", d.top) END), 0)::bigint AS announced,
       coalesce(sum(d.size), 0)::bigint AS processed,
       coalesce(sum(greatest(d.top - "end", 0) - d.above) FILTER (WHERE NOT stray), 0)::bigint AS pending,
       coalesce(sum("end" - d.below) FILTER (WHERE NOT stray), 0)::bigint AS lost,
       coalesce(sum(redelivered), 0)::bigint AS redelivered,
       (SELECT coalesce(sum(lost), 0)::bigint FROM forgotten_lanes) AS lost_by_forgotten_lanes
FROM lanes CROSS JOIN LATERAL (
    SELECT coalesce(max(upper(r)), 0) AS top, coalesce(sum(upper(r) - lower(r)), 0) AS size,
           coalesce(sum(least(upper(r), "end") - lower(r)) FILTER (WHERE lower(r) < "end"), 0) AS below,
           coalesce(sum(upper(r) - greatest(lower(r), "end")) FILTER (WHERE upper(r) > "end"), 0) AS above
    FROM unnest(done) r
) d
