-- Everything an answer is read with, in one snapshot.

-- tenant: one tenant, its time zones in order, and the database's clock in microseconds
SELECT t.tenant_id, t.revision, t.next_visitor > 2147483648 AS salted, floor(extract(epoch FROM now()) * 1000000)::bigint AS clock,
       array_agg(CASE WHEN z.effective_from = '-infinity' THEN NULL ELSE extract(epoch FROM z.effective_from)::bigint END
                 ORDER BY z.effective_from) AS effective,
       array_agg(z.time_zone ORDER BY z.effective_from) AS zones
FROM tenants t JOIN tenant_time_zones z USING (tenant_id) WHERE t.name = $1 GROUP BY t.tenant_id

-- shards: how far each stripe has come
SELECT shard, position_ms, position_seq, applied_at FROM shards ORDER BY shard

-- extent: the first and last local days that a metric has rows of
SELECT extract(epoch FROM min(e.first))::bigint AS first, extract(epoch FROM max(e.last))::bigint AS last
FROM series s
CROSS JOIN LATERAL (
    SELECT min(r.bucket) AS first, max(r.bucket) AS last FROM daily_summary r
    WHERE r.shard = s.shard AND r.series_id = s.series_id
) e
WHERE s.tenant_id = $1 AND s.metric = $2

-- verification: the last verification that covers these local dates; without dates, the last one
SELECT verified_at, revision, positions::text AS positions, differences FROM verifications
WHERE tenant_id = $1 AND ($2::date IS NULL OR (first_day <= $2 AND last_day >= $3))
ORDER BY verified_at DESC LIMIT 1

-- overflow: where dimensions had more values than are kept: in one stripe, or in all stripes together
SELECT dimension, extract(epoch FROM day)::bigint AS day FROM dimension_overflow
WHERE shard IN (SELECT shard FROM shards) AND tenant_id = $1 AND dimension = ANY($2::text[])
  AND day >= to_timestamp($3::bigint) AND day < to_timestamp($4::bigint)
UNION
SELECT dimension, extract(epoch FROM day)::bigint AS day FROM dimension_values
WHERE shard IN (SELECT shard FROM shards) AND tenant_id = $1 AND dimension = ANY($2::text[])
  AND day >= to_timestamp($3::bigint) AND day < to_timestamp($4::bigint)
GROUP BY dimension, day HAVING count(DISTINCT value) > $5

-- excess: on these days, values that single stripes kept and that are not among the $4 smallest ranks of all stripes together
SELECT ranked.dimension, extract(epoch FROM ranked.day)::bigint AS day, ranked.value
FROM (
    SELECT v.dimension, v.day, v.value,
           row_number() OVER (PARTITION BY v.dimension, v.day ORDER BY v.rank, v.value COLLATE "C") AS place
    FROM (
        SELECT DISTINCT kept.dimension, kept.day, kept.rank, kept.value
        FROM unnest($2::text[], $3::bigint[]) AS crowded (dimension, day)
        JOIN dimension_values kept ON kept.dimension = crowded.dimension AND kept.day = to_timestamp(crowded.day)
        WHERE kept.shard IN (SELECT shard FROM shards) AND kept.tenant_id = $1
    ) v
) ranked
WHERE ranked.place > $4

-- measures: one grouping's rows between two buckets ($4, ascending), stripes merged; $5 says which buckets count together
WITH chosen AS MATERIALIZED (
    SELECT shard, series_id, ARRAY(SELECT dimensions[place] FROM unnest($6::int[]) AS kept (place)) AS values
    FROM series
    WHERE tenant_id = $1 AND metric = $2 AND grouping = $3
      AND (cardinality($7::int[]) = 0 OR NOT EXISTS (
          SELECT FROM unnest($7::int[]) AS narrowed (place)
          WHERE (narrowed.place || ':' || dimensions[narrowed.place]) <> ALL ($8::text[])
      ))
)
SELECT r.slot, c.values, sum(r.count)::bigint AS count, sum(r.errors)::bigint AS errors,
       sum(r.observed)::bigint AS observed, sum(r.sum) AS sum, min(r.min) AS min, max(r.max) AS max,
       string_agg(r.histograms, '') AS histograms, ARRAY[{all_totals}]::numeric[] AS totals
FROM chosen c
-- OFFSET keeps this a look-up per series by primary key, and its rows added up before they are joined to others.
CROSS JOIN LATERAL (
    SELECT ($5::int[])[width_bucket(bucket, $4::timestamptz[])] AS slot, sum(count)::bigint AS count,
           sum(errors)::bigint AS errors, sum(observed)::bigint AS observed, sum(sum) AS sum, min(min) AS min, max(max) AS max,
           {histograms} AS histograms{totals}
    FROM {grain}_summary
    WHERE shard = c.shard AND series_id = c.series_id
      AND bucket BETWEEN ($4::timestamptz[])[1] AND ($4::timestamptz[])[cardinality($4::timestamptz[])]
    GROUP BY 1 OFFSET 0
) r
GROUP BY r.slot, c.values
LIMIT $9

-- members: the parts of the distinct actors of the same rows
WITH chosen AS MATERIALIZED (
    SELECT shard, series_id, ARRAY(SELECT dimensions[place] FROM unnest($6::int[]) AS kept (place)) AS values
    FROM series
    WHERE tenant_id = $1 AND metric = $2 AND grouping = $3
      AND (cardinality($7::int[]) = 0 OR NOT EXISTS (
          SELECT FROM unnest($7::int[]) AS narrowed (place)
          WHERE (narrowed.place || ':' || dimensions[narrowed.place]) <> ALL ($8::text[])
      ))
)
SELECT m.slot, c.values, m.parts
FROM chosen c
CROSS JOIN LATERAL (
    SELECT ($5::int[])[width_bucket(bucket, $4::timestamptz[])] AS slot, array_agg(members) AS parts
    FROM summary_members
    WHERE shard = c.shard AND series_id = c.series_id AND grain = $10::"char"
      AND bucket BETWEEN ($4::timestamptz[])[1] AND ($4::timestamptz[])[cardinality($4::timestamptz[])]
    GROUP BY 1 OFFSET 0
) m
LIMIT $9

-- events: how many events one grouping counts between two buckets
SELECT coalesce(sum(r.count), 0)::bigint
FROM series s
CROSS JOIN LATERAL (
    SELECT sum(count)::bigint AS count FROM {grain}_summary
    WHERE shard = s.shard AND series_id = s.series_id AND bucket BETWEEN $4 AND $5 OFFSET 0
) r
WHERE s.tenant_id = $1 AND s.metric = $2 AND s.grouping = $3
