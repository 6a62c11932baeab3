-- Reading the event log, and the summaries that say where in it something is.

-- busy_hours: hours with events of these names (null: of any), in these shards (null: in all), and how many
SELECT extract(epoch FROM r.bucket)::bigint AS start, sum(r.count)::bigint AS events
FROM series s
CROSS JOIN LATERAL (
    SELECT bucket, count FROM hourly_summary
    WHERE shard = s.shard AND series_id = s.series_id AND bucket >= to_timestamp($3::bigint) AND bucket < to_timestamp($4::bigint)
    OFFSET 0
) r
WHERE s.tenant_id = $1 AND s.metric = $2 AND s.grouping = 0
  AND ($5::text[] IS NULL OR s.dimensions[1] = ANY($5)) AND ($6::smallint[] IS NULL OR s.shard = ANY($6))
GROUP BY r.bucket

-- present_actors: parts of the sets of who was there, by hour or day ($7), as above
SELECT extract(epoch FROM m.bucket)::bigint AS start, m.parts
FROM series s
CROSS JOIN LATERAL (
    SELECT bucket, array_agg(members) AS parts FROM summary_members
    WHERE shard = s.shard AND series_id = s.series_id AND grain = $7::"char"
      AND bucket >= to_timestamp($3::bigint) AND bucket < to_timestamp($4::bigint)
    GROUP BY bucket OFFSET 0
) m
WHERE s.tenant_id = $1 AND s.metric = $2 AND s.grouping = 0
  AND ($5::text[] IS NULL OR s.dimensions[1] = ANY($5)) AND ($6::smallint[] IS NULL OR s.shard = ANY($6))

-- entries: entries of the log that hold a tenant's events and overlap any of these hours, those that end last first. An event is
-- applied after it occurred, or a few minutes before: so days of application before $3 need no look.
SELECT applied_day, shard, lane, first, n, outcomes, digest, octet_length(payload) AS size,
       floor(extract(epoch FROM last_at) * 1000000)::bigint AS last_at
FROM event_log
WHERE tenants @> ARRAY[$1::int] AND ($2::smallint[] IS NULL OR shard = ANY($2))
  AND applied_day >= $3 AND first_at < $4 AND last_at >= $5
  AND EXISTS (
      SELECT FROM unnest($6::bigint[], $7::bigint[]) AS span (start, stop)
      WHERE first_at < to_timestamp(span.stop) AND last_at >= to_timestamp(span.start)
  )
ORDER BY event_log.last_at DESC, applied_day, shard, lane, first LIMIT $8

-- payloads: what these entries hold
SELECT l.shard, l.lane, l.first, l.payload
FROM unnest($1::date[], $2::smallint[], $3::bytea[], $4::bigint[]) AS wanted (applied_day, shard, lane, first)
JOIN event_log l USING (applied_day, shard, lane, first)
