-- A rebuild's shadow: temporary tables of the summaries' form, seen by the rebuild's own connection alone. {grain} is hourly or daily.

-- rebuild_turn: one rebuild at a time, for as long as this connection lasts
SELECT pg_try_advisory_lock($1)

-- rebuild_done: another may
SELECT pg_advisory_unlock($1)

-- shadow_create: the shadow, empty
CREATE TEMPORARY TABLE shadow_series (LIKE series INCLUDING ALL);
CREATE TEMPORARY TABLE shadow_hourly_summary (LIKE hourly_summary INCLUDING ALL);
CREATE TEMPORARY TABLE shadow_daily_summary (LIKE daily_summary INCLUDING ALL);
CREATE TEMPORARY TABLE shadow_summary_members (LIKE summary_members INCLUDING ALL);
CREATE TEMPORARY TABLE shadow_tally_rows (LIKE tally_rows INCLUDING ALL);
CREATE TEMPORARY TABLE shadow_board_scores (LIKE board_scores INCLUDING ALL);
CREATE TEMPORARY TABLE shadow_board_levels (LIKE board_levels INCLUDING ALL);
CREATE TEMPORARY TABLE shadow_dimension_values (LIKE dimension_values INCLUDING ALL);
CREATE TEMPORARY TABLE shadow_dimension_overflow (LIKE dimension_overflow INCLUDING ALL);
CREATE TEMPORARY TABLE shadow_seen (
    shard smallint, applied_day date, lane bytea, numbers int8multirange NOT NULL, PRIMARY KEY (shard, applied_day, lane)
);
CREATE TEMPORARY TABLE shadow_ids (shard smallint, shadow_id int, series_id int NOT NULL, PRIMARY KEY (shard, shadow_id))

-- shadow_drop: the shadow goes; without this it would go with the connection
DROP TABLE IF EXISTS pg_temp.shadow_series, pg_temp.shadow_hourly_summary, pg_temp.shadow_daily_summary, pg_temp.shadow_summary_members,
    pg_temp.shadow_tally_rows, pg_temp.shadow_board_scores, pg_temp.shadow_board_levels,
    pg_temp.shadow_dimension_values, pg_temp.shadow_dimension_overflow, pg_temp.shadow_seen, pg_temp.shadow_ids

-- shadow_measure: nobody else tells the planner how large temporary tables are
ANALYZE shadow_series, shadow_hourly_summary, shadow_daily_summary, shadow_summary_members, shadow_tally_rows, shadow_board_scores, shadow_dimension_values, shadow_seen

-- shadow_admissions: begin with the values that a shard admitted until now
INSERT INTO shadow_dimension_values SELECT * FROM dimension_values WHERE shard = $1

-- shadow_overflow: and with where it turned values away
INSERT INTO shadow_dimension_overflow SELECT * FROM dimension_overflow WHERE shard = $1

-- seen_store: which of a lane's numbers, applied on that day, are in the shadow
INSERT INTO shadow_seen VALUES ($1, $2, $3, $4) ON CONFLICT (shard, applied_day, lane) DO UPDATE SET numbers = excluded.numbers

-- unseen: entries of the log that are not in the shadow
SELECT e.applied_day, e.shard, e.lane, e.first, e.n, e.applied_at, e.outcomes, e.digest, e.payload
FROM event_log e LEFT JOIN shadow_seen s ON s.shard = e.shard AND s.applied_day = e.applied_day AND s.lane = e.lane
WHERE s.numbers IS NULL OR NOT s.numbers @> e.first ORDER BY e.shard

-- shards_known: every shard there is
SELECT shard FROM shards ORDER BY shard

-- tenants_staying: tenants that are there and not being deleted
SELECT tenant_id FROM tenants WHERE status <> 'deleting'

-- shadow_forget: rows of tenants that left meanwhile
DELETE FROM shadow_{table} WHERE tenant_id <> ALL($1::int[])

-- values_lacking: dimension values that were admitted meanwhile and are not in the shadow
SELECT shard, tenant_id, dimension, extract(epoch FROM day)::bigint AS day, value FROM (
    SELECT shard, tenant_id, dimension, day, value FROM dimension_values WHERE tenant_id = ANY($1::int[])
    EXCEPT SELECT shard, tenant_id, dimension, day, value FROM shadow_dimension_values) v

-- values_new: dimension values that the shadow has admitted and their shards have not
SELECT shard, tenant_id, dimension, extract(epoch FROM day)::bigint AS day, value FROM (
    SELECT shard, tenant_id, dimension, day, value FROM shadow_dimension_values WHERE tenant_id = ANY($1::int[])
    EXCEPT SELECT shard, tenant_id, dimension, day, value FROM dimension_values) v

-- series_adopt: series of the shadow that their shards do not have, with the ids that follow
INSERT INTO series (shard, series_id, tenant_id, metric, grouping, dimensions, digest)
SELECT n.shard, coalesce(l.last, 0) + row_number() OVER (PARTITION BY n.shard ORDER BY n.series_id), n.tenant_id, n.metric, n.grouping,
       n.dimensions, n.digest
FROM shadow_series n LEFT JOIN (SELECT shard, max(series_id) AS last FROM series GROUP BY shard) l USING (shard)
WHERE NOT EXISTS (SELECT FROM series s WHERE s.shard = n.shard AND s.digest = n.digest)

-- series_pair: which series of the shadow is which
INSERT INTO shadow_ids SELECT n.shard, n.series_id, s.series_id FROM shadow_series n JOIN series s USING (shard, digest)

-- rows_leave: rows of these metrics, or of all, that the shadow does not have just so
DELETE FROM {grain}_summary r
WHERE ($1::text[] IS NULL OR EXISTS (
        SELECT FROM series s WHERE s.shard = r.shard AND s.series_id = r.series_id AND s.metric = ANY($1::text[])))
  AND NOT EXISTS (
        SELECT FROM shadow_{grain}_summary n JOIN shadow_ids i ON i.shard = n.shard AND i.shadow_id = n.series_id
        WHERE i.shard = r.shard AND i.series_id = r.series_id AND n.bucket = r.bucket
          AND (n.tenant_id, n.count, n.errors, n.observed, n.sum, n.min, n.max, n.histogram, n.totals)
              IS NOT DISTINCT FROM (r.tenant_id, r.count, r.errors, r.observed, r.sum, r.min, r.max, r.histogram, r.totals))

-- rows_enter: the shadow's rows, but for those that are there already
INSERT INTO {grain}_summary (shard, series_id, tenant_id, bucket, count, errors, observed, sum, min, max, histogram, totals)
SELECT n.shard, i.series_id, n.tenant_id, n.bucket, n.count, n.errors, n.observed, n.sum, n.min, n.max, n.histogram, n.totals
FROM shadow_{grain}_summary n JOIN shadow_ids i ON i.shard = n.shard AND i.shadow_id = n.series_id
ON CONFLICT DO NOTHING

-- parts_leave: parts of sets of these metrics, or of all, that the shadow does not have just so
DELETE FROM summary_members r
WHERE ($1::text[] IS NULL OR EXISTS (
        SELECT FROM series s WHERE s.shard = r.shard AND s.series_id = r.series_id AND s.metric = ANY($1::text[])))
  AND NOT EXISTS (
        SELECT FROM shadow_summary_members n JOIN shadow_ids i ON i.shard = n.shard AND i.shadow_id = n.series_id
        WHERE i.shard = r.shard AND i.series_id = r.series_id AND n.grain = r.grain AND n.bucket = r.bucket AND n.part = r.part
          AND n.tenant_id = r.tenant_id AND n.members = r.members)

-- parts_enter: the shadow's parts, but for those that are there already
INSERT INTO summary_members (shard, series_id, tenant_id, grain, bucket, part, members)
SELECT n.shard, i.series_id, n.tenant_id, n.grain, n.bucket, n.part, n.members
FROM shadow_summary_members n JOIN shadow_ids i ON i.shard = n.shard AND i.shadow_id = n.series_id
ON CONFLICT DO NOTHING

-- tallies_leave: rows of these tallies, or of all, that the shadow does not have just so
DELETE FROM tally_rows r WHERE ($1::text[] IS NULL OR r.tally = ANY($1::text[])) AND NOT EXISTS (
    SELECT FROM shadow_tally_rows n
    WHERE (n.shard, n.tenant_id, n.tally, n.bucket, n.digest) = (r.shard, r.tenant_id, r.tally, r.bucket, r.digest)
      AND (n.actor, n.parts, n.count, n.sums, n.greatest, n.first_at, n.first_id, n.last_at, n.last_id, n.said)
          IS NOT DISTINCT FROM (r.actor, r.parts, r.count, r.sums, r.greatest, r.first_at, r.first_id, r.last_at, r.last_id, r.said))

-- tallies_enter: the shadow's rows, but for those that are there already
INSERT INTO tally_rows SELECT * FROM shadow_tally_rows ON CONFLICT DO NOTHING

-- scores_leave: scores of these boards, or of all, that the shadow does not have just so
DELETE FROM board_scores r WHERE ($1::text[] IS NULL OR r.board = ANY($1::text[])) AND NOT EXISTS (
    SELECT FROM shadow_board_scores n WHERE (n.tenant_id, n.board, n.timeframe, n.bucket, n.actor, n.score)
        = (r.tenant_id, r.board, r.timeframe, r.bucket, r.actor, r.score))

-- scores_enter: the shadow's scores, but for those that are there already
INSERT INTO board_scores SELECT * FROM shadow_board_scores ON CONFLICT DO NOTHING

-- levels_leave: levels of these boards, or of all
DELETE FROM board_levels WHERE $1::text[] IS NULL OR board = ANY($1::text[])

-- levels_enter: the shadow's levels
INSERT INTO board_levels SELECT * FROM shadow_board_levels

-- values_leave: admitted values that the shadow has not admitted
DELETE FROM dimension_values v WHERE NOT EXISTS (
    SELECT FROM shadow_dimension_values n WHERE (n.shard, n.tenant_id, n.dimension, n.day, n.rank, n.value)
        = (v.shard, v.tenant_id, v.dimension, v.day, v.rank, v.value))

-- values_enter: the values that the shadow has admitted
INSERT INTO dimension_values SELECT * FROM shadow_dimension_values ON CONFLICT DO NOTHING

-- overflow_leave: forget where values were turned away
DELETE FROM dimension_overflow

-- overflow_enter: where the shadow turned values away
INSERT INTO dimension_overflow SELECT * FROM shadow_dimension_overflow ON CONFLICT DO NOTHING

-- rebuild_revisions: history was written anew
UPDATE tenants SET revision = revision + 1
