-- Everything a worker reads and writes for its shards. `$1` is the shard wherever there is one; {grain} is hourly or daily.

-- shard: a shard's delivery state
SELECT generation, number, position_ms, position_seq, epoch, run_id, birthmark, token, attempts FROM shards WHERE shard = $1

-- shard_swap: move the token (rule P5) and with it the position; no row means another writer was here
UPDATE shards SET token = gen_random_uuid(), position_ms = $3, position_seq = $4, epoch = $5, run_id = $6, birthmark = $7,
    attempts = 0, applied_at = now()
WHERE shard = $1 AND token = $2 RETURNING token, now() AS now

-- generations: every layout of streams
SELECT generation, (count(*) FILTER (WHERE NOT overflow))::int AS shards, max(retired_at) AS retired_at FROM shards GROUP BY generation ORDER BY generation

-- generation_shards: which shard reads which stream of a generation that is read, but the overflow's
SELECT shard FROM shards WHERE generation = $1 AND retired_at IS NULL AND NOT overflow ORDER BY number

-- generations_retired: streams that nobody reads any more
SELECT generation, number FROM shards WHERE retired_at IS NOT NULL ORDER BY generation, number

-- generation_begin: rows of a new generation's $2 shards, and of its overflow
INSERT INTO shards (shard, generation, number, overflow)
SELECT coalesce((SELECT max(shard) + 1 FROM shards), 0) + number, $1, number, number = $2::int FROM generate_series(0, $2::int) AS number

-- generation_retire: nobody reads it from now on
UPDATE shards SET retired_at = now(), token = gen_random_uuid() WHERE generation = $1

-- generation_reopen: it is read again
UPDATE shards SET retired_at = NULL, token = gen_random_uuid() WHERE generation = $1

-- generation_status: each of its shards, who reads it, and how long ago a lane was last heard of
SELECT s.shard, s.number, s.overflow, s.position_ms, s.position_seq, s.run_id, s.birthmark, s.applied_at, w.host, w.pid,
       (SELECT now() - to_timestamp(max(touched) / 1000.0) FROM lanes WHERE lanes.shard = s.shard) AS silent
FROM shards s LEFT JOIN leases l ON l.shard = s.shard AND l.expires_at > now() LEFT JOIN workers w USING (worker_id)
WHERE s.generation = $1 ORDER BY s.number

-- generation_held: whether a worker still holds one of its shards
SELECT EXISTS (SELECT FROM leases JOIN shards USING (shard) WHERE generation = $1 AND expires_at > now())

-- generation_release: leases that ran out
DELETE FROM leases WHERE shard IN (SELECT shard FROM shards WHERE generation = $1)

-- shard_attempt: count an attempt before it is made
UPDATE shards SET attempts = attempts + 1 WHERE shard = $1 RETURNING attempts

-- shard_uncount: an attempt ended in an error, not in the death of its process
UPDATE shards SET attempts = greatest(attempts - 1, 0) WHERE shard = $1

-- lanes_load: what is known of these lanes
SELECT lane, done, "end", closed, born, touched, stray, trusted, scanned FROM lanes WHERE shard = $1 AND lane = ANY($2::bytea[])

-- lanes_trusted: which of these lanes are imports or replays of dead letters, but those of tenants that are to go
SELECT i.lane FROM imports i JOIN tenants t USING (tenant_id) WHERE i.lane = ANY($1::bytea[]) AND t.status <> 'deleting'
UNION ALL
SELECT d.replay_lane FROM dead_letters d LEFT JOIN tenants t USING (tenant_id)
WHERE d.replay_lane = ANY($1::bytea[]) AND t.status IS DISTINCT FROM 'deleting'

-- lane_store: a lane's new state; redelivered adds up, drops are cumulative already: the greatest announced holds
INSERT INTO lanes (shard, lane, done, "end", closed, born, touched, stray, trusted, scanned, redelivered, drops)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (shard, lane) DO UPDATE SET done = excluded.done, "end" = excluded."end", closed = excluded.closed,
    touched = excluded.touched, stray = excluded.stray, trusted = excluded.trusted, scanned = excluded.scanned,
    redelivered = lanes.redelivered + excluded.redelivered,
    drops = CASE WHEN excluded.drops = '{}' THEN lanes.drops ELSE (
        SELECT jsonb_object_agg(reason, greatest((lanes.drops ->> reason)::bigint, (excluded.drops ->> reason)::bigint))
        FROM jsonb_object_keys(lanes.drops || excluded.drops) AS reason) END

-- lanes_forget: drop lanes idle for so long that lateness refuses whatever they could still send (rule P10); list what was open
WITH gone AS (
    DELETE FROM lanes WHERE shard = $1 AND touched < $2 AND NOT trusted RETURNING *
), counted AS (
    SELECT gone.*, CASE WHEN stray THEN 0 ELSE "end" -
        (SELECT coalesce(sum(least(upper(r), "end") - lower(r)), 0) FROM unnest(done) r WHERE lower(r) < "end") END AS lost,
        (SELECT count(*) FROM unnest(done) r) AS ranges
    FROM gone
), listed AS (
    INSERT INTO forgotten_lanes (shard, lane, born, "end", lost)
    SELECT shard, lane, born, "end", lost FROM counted
    WHERE NOT closed OR stray OR lost > 0 OR ranges > 1 OR lower(done) > 0
)
SELECT lane FROM gone

-- lanes_prefixes: up to where each of these lanes (all, for null) is done without a hole; those that are done from 0 on
SELECT lane, (SELECT min(upper(r)) FROM unnest(done) r) AS prefix FROM lanes
WHERE shard = $1 AND ($2::bytea[] IS NULL OR lane = ANY($2)) AND lower(done) = 0

-- wal_written: up to where the write-ahead log is written in memory, which covers every commit that can be seen
SELECT pg_current_wal_insert_lsn()::text

-- wal_flushed: whether it is on the disk up to there
SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn

-- lanes_idle: whether any lane could be forgotten
SELECT EXISTS (SELECT 1 FROM lanes WHERE shard = $1 AND touched < $2 AND NOT trusted)

-- tenants: every tenant with its calendar
SELECT t.tenant_id, t.name, t.cardinality_key,
       array_agg(CASE WHEN z.effective_from = '-infinity' THEN NULL ELSE extract(epoch FROM z.effective_from)::bigint END
                 ORDER BY z.effective_from) AS effective,
       array_agg(z.time_zone ORDER BY z.effective_from) AS zones
FROM tenants t JOIN tenant_time_zones z USING (tenant_id) GROUP BY t.tenant_id

-- tenants_deleted: names of tenants that are being deleted (with their ids) or are gone; of names borne again, since when (microseconds)
SELECT name, tenant_id AS deleting, NULL::bigint AS again FROM tenants WHERE status = 'deleting'
UNION ALL
SELECT DISTINCT r.tenant, NULL::int, (extract(epoch FROM t.created_at) * 1000000)::bigint
FROM deletion_receipts r LEFT JOIN tenants t ON t.name = r.tenant
WHERE r.deleted_at IS NOT NULL AND t.status IS DISTINCT FROM 'deleting'

-- actors_load: dense ids of these pseudonyms
SELECT pseudonym, actor_id FROM actors WHERE tenant_id = $1 AND pseudonym = ANY($2::bytea[])

-- actors_block: take a block of ids for pseudonyms made with the tenant's key
UPDATE tenants SET next_actor = next_actor + $2 WHERE tenant_id = $1 RETURNING next_actor - $2

-- visitors_block: take a block of ids for daily-salted visitors
UPDATE tenants SET next_visitor = next_visitor + $2 WHERE tenant_id = $1 RETURNING next_visitor - $2

-- actors_store: remember new pseudonyms; returns fewer rows when another shard stored one of them meanwhile
INSERT INTO actors (tenant_id, pseudonym, actor_id, shard)
SELECT t, p, a, $1 FROM unnest($2::int[], $3::bytea[], $4::bigint[]) AS new (t, p, a) ORDER BY t, p
ON CONFLICT (tenant_id, pseudonym) DO NOTHING RETURNING actor_id

-- partitions: the partitions of a table
SELECT relname FROM pg_class JOIN pg_inherits ON oid = inhrelid WHERE inhparent = to_regclass($1)

-- keys_known: which of these event ids were applied in the periods still remembered
SELECT event_id FROM event_keys WHERE event_id = ANY($1::bytea[]) AND period >= $2

-- keys_store: remember event ids in these periods; returns fewer rows when another shard applied one of them meanwhile
INSERT INTO event_keys (period, shard, event_id) SELECT period, $1, id FROM unnest($3::bytea[]) AS id, unnest($2::int[]) AS period
ORDER BY id, period ON CONFLICT DO NOTHING RETURNING period

-- admissions_load: admitted dimension values of these tenants' days
SELECT v.tenant_id, v.dimension, extract(epoch FROM v.day)::bigint AS day, v.rank, v.value FROM dimension_values v
JOIN unnest($2::int[], $3::bigint[]) AS wanted (tenant_id, day)
  ON v.tenant_id = wanted.tenant_id AND v.day = to_timestamp(wanted.day)
WHERE v.shard = $1

-- admissions_overflowed: where values were turned away already
SELECT o.tenant_id, o.dimension, extract(epoch FROM o.day)::bigint AS day FROM dimension_overflow o
JOIN unnest($2::int[], $3::bigint[]) AS wanted (tenant_id, day)
  ON o.tenant_id = wanted.tenant_id AND o.day = to_timestamp(wanted.day)
WHERE o.shard = $1

-- admissions_store: newly admitted values
INSERT INTO dimension_values (shard, tenant_id, dimension, day, rank, value)
SELECT $1, t, d, to_timestamp(s), r, v FROM unnest($2::int[], $3::text[], $4::bigint[], $5::bigint[], $6::text[]) AS new (t, d, s, r, v)

-- admissions_remove: values that had to leave
DELETE FROM dimension_values v USING unnest($2::int[], $3::text[], $4::bigint[], $5::text[]) AS gone (t, d, s, x)
WHERE v.shard = $1 AND v.tenant_id = t AND v.dimension = d AND v.day = to_timestamp(s) AND v.value = x

-- overflow_store: a dimension's day is over its limit in this stripe
INSERT INTO dimension_overflow (shard, tenant_id, dimension, day)
SELECT $1, t, d, to_timestamp(s) FROM unnest($2::int[], $3::text[], $4::bigint[]) AS new (t, d, s) ON CONFLICT DO NOTHING

-- series_load: ids of these series
SELECT digest, series_id FROM series WHERE shard = $1 AND digest = ANY($2::bytea[])

-- series_last: the last id given out
SELECT coalesce(max(series_id), 0) FROM series WHERE shard = $1

-- series_store: series that were given their ids just now
INSERT INTO series (shard, series_id, tenant_id, metric, grouping, dimensions, digest)
SELECT $1, s.series_id, s.tenant_id, s.metric, s.grouping,
       ARRAY(SELECT v.value FROM jsonb_array_elements_text(s.dimensions::jsonb) WITH ORDINALITY v (value, place) ORDER BY v.place), s.digest
FROM unnest($2::int[], $3::int[], $4::text[], $5::smallint[], $6::text[], $7::bytea[])
     s (series_id, tenant_id, metric, grouping, dimensions, digest)

-- series_of_value: series of a metric's groupings that hold a value at a place
SELECT series_id, dimensions FROM series
WHERE shard = $1 AND tenant_id = $2 AND metric = $3 AND grouping = $4 AND dimensions[$5] = $6

-- summary_load: rows of these series and buckets
SELECT series_id, extract(epoch FROM bucket)::bigint AS bucket, count, errors, observed, sum, min, max, histogram, totals
FROM {grain}_summary JOIN unnest($2::int[], $3::bigint[]) AS wanted (series_id, start) USING (series_id)
WHERE shard = $1 AND bucket = to_timestamp(wanted.start)

-- members_load: distinct actors of these rows, as parts
SELECT series_id, extract(epoch FROM bucket)::bigint AS bucket, max(part) AS last, array_agg(members) AS parts
FROM summary_members JOIN unnest($3::int[], $4::bigint[]) AS wanted (series_id, start) USING (series_id)
WHERE shard = $1 AND grain = $2::"char" AND bucket = to_timestamp(wanted.start)
GROUP BY series_id, bucket

-- summary_store: the rows' new values
INSERT INTO {grain}_summary (shard, series_id, tenant_id, bucket, count, errors, observed, sum, min, max, histogram, totals)
SELECT $1, i, t, to_timestamp(b), c, e, o, s, l, g, h, a::numeric[] FROM unnest($2::int[], $3::int[], $4::bigint[], $5::bigint[],
    $6::bigint[], $7::bigint[], $8::numeric[], $9::bigint[], $10::bigint[], $11::bytea[], $12::text[])
    AS new (i, t, b, c, e, o, s, l, g, h, a)
ON CONFLICT (shard, series_id, bucket) DO UPDATE SET count = excluded.count, errors = excluded.errors,
    observed = excluded.observed, sum = excluded.sum, min = excluded.min, max = excluded.max, histogram = excluded.histogram,
    totals = excluded.totals

-- members_store: append parts
INSERT INTO summary_members (shard, series_id, tenant_id, grain, bucket, part, members)
SELECT $1, i, t, $2::"char", to_timestamp(b), p, m
FROM unnest($3::int[], $4::int[], $5::bigint[], $6::int[], $7::bytea[]) AS new (i, t, b, p, m)

-- members_remove: drop parts, before one compacted part takes their place or their row is merged into another
DELETE FROM summary_members m USING unnest($3::int[], $4::bigint[]) AS gone (i, b)
WHERE m.shard = $1 AND m.grain = $2::"char" AND m.series_id = i AND m.bucket = to_timestamp(b)

-- hourly_of_series: a day's hours of these series
SELECT series_id, extract(epoch FROM bucket)::bigint AS bucket FROM hourly_summary
WHERE shard = $1 AND series_id = ANY($2::int[]) AND bucket >= to_timestamp($3) AND bucket < to_timestamp($4)

-- summary_remove: rows that were merged into others
DELETE FROM {grain}_summary r USING unnest($2::int[], $3::bigint[]) AS gone (i, b)
WHERE r.shard = $1 AND r.series_id = i AND r.bucket = to_timestamp(b)

-- ledger_store: add to the outcome ledger of this hour
INSERT INTO outcome_ledger (shard, tenant_id, hour, outcome, reason, events)
SELECT $1, t, date_trunc('hour', now(), 'UTC'), o, r, n FROM unnest($2::int[], $3::text[], $4::text[], $5::bigint[]) AS new (t, o, r, n)
ON CONFLICT (shard, tenant_id, hour, outcome, reason) DO UPDATE SET events = outcome_ledger.events + excluded.events

-- activity_load: the newest activities of these tenants
SELECT tenant_id, activities FROM recent_activity WHERE shard = $1 AND tenant_id = ANY($2::int[])

-- activity_store: their new lists
INSERT INTO recent_activity (shard, tenant_id, activities) SELECT $1, t, a::jsonb FROM unnest($2::int[], $3::text[]) AS new (t, a)
ON CONFLICT (shard, tenant_id) DO UPDATE SET activities = excluded.activities

-- recent_actors_load: who was there in these buckets, as parts
SELECT tenant_id, extract(epoch FROM bucket)::bigint AS start, max(part) AS last, array_agg(members) AS parts
FROM recent_actors JOIN unnest($2::int[], $3::bigint[]) AS wanted (tenant_id, start) USING (tenant_id)
WHERE shard = $1 AND bucket = to_timestamp(wanted.start)
GROUP BY tenant_id, bucket

-- recent_actors_store: append parts
INSERT INTO recent_actors (shard, tenant_id, bucket, part, members)
SELECT $1, t, to_timestamp(b), p, m FROM unnest($2::int[], $3::bigint[], $4::int[], $5::bytea[]) AS new (t, b, p, m)

-- recent_actors_remove: drop parts, before one part takes their place
DELETE FROM recent_actors r USING unnest($2::int[], $3::bigint[]) AS gone (t, b)
WHERE r.shard = $1 AND r.tenant_id = t AND r.bucket = to_timestamp(b)

-- recent_actors_forget: drop up to $2 rows that no live view shows any more
DELETE FROM recent_actors WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM recent_actors WHERE shard = $1 AND bucket < now() - interval '10 minutes' LIMIT $2))

-- lease_turn: a worker's heartbeat ($2 its host, $3 its process, $4 a lease's seconds) and renewal ($5 its shards); every shard that is
-- read, with whether it was renewed or is free, and the workers that share them. One statement: a busy worker gets through one.
WITH seen AS (
    INSERT INTO workers (worker_id, host, pid) VALUES ($1, $2, $3) ON CONFLICT (worker_id) DO UPDATE SET seen_at = now()
), renewed AS (
    UPDATE leases SET expires_at = now() + $4 * interval '1 second' WHERE worker_id = $1 AND shard = ANY($5::smallint[]) RETURNING shard
)
SELECT s.shard, s.generation, s.number, s.overflow,
       (SELECT count(*) FROM shards g WHERE g.generation = s.generation AND NOT g.overflow)::int AS shards,
       EXISTS (SELECT FROM renewed r WHERE r.shard = s.shard) AS renewed, l.expires_at IS NULL OR l.expires_at < now() AS free,
       (SELECT array_agg(worker_id ORDER BY worker_id) FROM (
            SELECT worker_id FROM workers WHERE seen_at > now() - $4 * interval '1 second' UNION SELECT $1
        ) live) AS live
FROM shards s LEFT JOIN leases l USING (shard) WHERE s.retired_at IS NULL ORDER BY s.shard

-- workers_forget: workers long gone
DELETE FROM workers WHERE seen_at < now() - interval '1 day'

-- worker_gone: a worker that stops says so
DELETE FROM workers WHERE worker_id = $1

-- leases_take: take shards nobody holds, or whose holder has gone silent
INSERT INTO leases (shard, worker_id, expires_at)
SELECT shard, $1, now() + $2 * interval '1 second' FROM unnest($3::smallint[]) AS shard ORDER BY shard
ON CONFLICT (shard) DO UPDATE SET worker_id = excluded.worker_id, expires_at = excluded.expires_at, term = leases.term + 1
WHERE leases.expires_at < now() RETURNING shard, term

-- sessions_end: end transactions of workers that were silent for a lease ($2 seconds): a process that is suspended, or a host that is gone,
-- would go on holding its rows. All of one's at once: what waits now holds rows next. A worker without a row may just be starting or leaving.
SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a LEFT JOIN workers w ON a.application_name = $1 || ' ' || w.worker_id
WHERE starts_with(a.application_name, $1) AND a.datname = current_database() AND a.usename = current_user AND a.xact_start IS NOT NULL
  AND CASE WHEN w.worker_id IS NULL THEN CASE WHEN a.state = 'idle in transaction' THEN a.state_change END ELSE w.seen_at END
      < now() - $2 * interval '1 second'

-- lease_release: give a shard back. Its row stays: making one waits for whoever holds the shard's row, and a turn must not wait.
UPDATE leases SET expires_at = '-infinity' WHERE shard = $1 AND worker_id = $2

-- canonical_tenants: every tenant that a summary row names, there or not
SELECT tenant_id FROM hourly_summary UNION SELECT tenant_id FROM daily_summary UNION SELECT tenant_id FROM summary_members

-- canonical_series: names of all series of these tenants
SELECT shard, series_id, tenant_id, metric, grouping, dimensions FROM series WHERE tenant_id = ANY($1::int[])

-- canonical_rows: every row of these tenants
SELECT shard, series_id, tenant_id, extract(epoch FROM bucket)::bigint AS bucket, count, errors, observed, sum, min, max, histogram, totals
FROM {grain}_summary WHERE tenant_id = ANY($1::int[])

-- canonical_members: every part of every set of these tenants
SELECT shard, series_id, tenant_id, grain, extract(epoch FROM bucket)::bigint AS bucket, members FROM summary_members WHERE tenant_id = ANY($1::int[])

-- canonical_admissions: every admitted dimension value of these tenants
SELECT tenant_id, dimension, extract(epoch FROM day)::bigint AS day, rank, value FROM dimension_values WHERE tenant_id = ANY($1::int[])

-- log_store: an applied entry
INSERT INTO event_log (applied_day, shard, lane, first, n, applied_at, tenants, first_at, last_at, outcomes, digest, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- log: the event log, in an order that does not depend on when it was written
SELECT applied_day, shard, lane, first, n, applied_at, first_at, last_at, outcomes, digest, payload
FROM event_log ORDER BY shard, lane, first

-- log_range: what the event log covers
SELECT count(*) AS entries, coalesce(sum(n), 0) AS events, min(applied_at) AS first, max(applied_at) AS last,
       min(first_at) AS first_at, max(last_at) AS last_at, coalesce(sum(length(payload)), 0) AS bytes FROM event_log

-- actors: the dictionary of pseudonyms of these tenants
SELECT tenant_id, pseudonym, actor_id FROM actors WHERE tenant_id = ANY($1::int[])

-- ledger: the outcome ledger, stripes merged
SELECT tenant_id, hour, outcome, reason, sum(events)::bigint AS events FROM outcome_ledger GROUP BY 1, 2, 3, 4

-- dead_entries: entries that were refused as a whole, by hour
SELECT date_trunc('hour', at, 'UTC') AS hour, reason, sum(events)::bigint AS events FROM dead_letters
WHERE reason IN ('undecodable', 'range_conflict', 'poison') GROUP BY 1, 2

-- dead_numbers: lane numbers that are done without being in the log
SELECT shard, lane, number, events FROM dead_letters WHERE lane IS NOT NULL AND reason IN ('undecodable', 'poison')

-- lanes_done: what every lane has done
SELECT shard, lane, done, stray FROM lanes

-- lanes_unforgettable: lanes of the log that have no row though they are too young to have been forgotten
SELECT shard, lane FROM event_log WHERE NOT EXISTS (SELECT FROM lanes l WHERE l.shard = event_log.shard AND l.lane = event_log.lane)
GROUP BY shard, lane HAVING max(applied_at) > now() - $1::interval

-- positions: how far every shard is
SELECT shard, epoch, position_ms, position_seq FROM shards ORDER BY shard

-- verification_store: remember what was verified
INSERT INTO verifications (tenant_id, revision, first_day, last_day, positions, differences)
SELECT tenant_id, $6, $2, $3, $4, $5 FROM tenants WHERE tenant_id = $1

-- revisions: how often each tenant's history was changed
SELECT tenant_id, revision FROM tenants

-- dead_events: refused events by tenant and reason; rejected ones from $1 on, since when they are kept; and those that are only counted
SELECT coalesce(tenant_id, 0) AS tenant_id, reason, sum(events)::bigint AS events FROM dead_letters
WHERE reason IN ('late', 'future') OR (reason NOT IN ('undecodable', 'range_conflict', 'poison') AND at >= $1) GROUP BY 1, 2
UNION ALL
SELECT tenant_id, reason, sum(events)::bigint FROM dead_letters_counted GROUP BY 1, 2

-- rejected_kept_from: since when rejected events are kept among the dead letters
SELECT coalesce((SELECT value FROM installation WHERE name = 'rejected_kept_from')::timestamptz, to_timestamp(0))

-- installation: what all workers of a database have to agree on
INSERT INTO installation (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = installation.value RETURNING value

-- installation_set: the same, when it is meant to change
INSERT INTO installation (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- tallies_add: add states to what is kept of their entities
INSERT INTO tally_rows AS t (
    shard, tenant_id, tally, bucket, digest, actor, parts, count, sums, greatest, first_at, first_id, last_at, last_id, said)
SELECT $1, o, n, to_timestamp(b), d, a, p::text[], c, s::numeric[], g::bigint[], fa, fi, la, li, v::jsonb FROM unnest(
    $2::int[], $3::text[], $4::bigint[], $5::bytea[], $6::bytea[], $7::text[], $8::bigint[], $9::text[], $10::text[], $11::bigint[],
    $12::bytea[], $13::bigint[], $14::bytea[], $15::text[]) AS new (o, n, b, d, a, p, c, s, g, fa, fi, la, li, v)
ON CONFLICT (shard, tenant_id, tally, bucket, digest) DO UPDATE SET
    count = t.count + excluded.count,
    sums = ARRAY(SELECT x + y FROM unnest(t.sums, excluded.sums) WITH ORDINALITY AS u (x, y, i) ORDER BY i),
    greatest = ARRAY(SELECT greatest(x, y) FROM unnest(t.greatest, excluded.greatest) WITH ORDINALITY AS u (x, y, i) ORDER BY i),
    first_at = least(t.first_at, excluded.first_at),
    first_id = CASE WHEN (excluded.first_at, excluded.first_id) < (t.first_at, t.first_id) THEN excluded.first_id ELSE t.first_id END,
    last_at = greatest(t.last_at, excluded.last_at),
    last_id = CASE WHEN (excluded.last_at, excluded.last_id) > (t.last_at, t.last_id) THEN excluded.last_id ELSE t.last_id END,
    said = CASE WHEN (excluded.last_at, excluded.last_id) > (t.last_at, t.last_id) THEN excluded.said ELSE t.said END

-- tallies_stored: all rows of these tenants
SELECT tenant_id, tally, extract(epoch FROM bucket)::bigint AS bucket, actor, parts, count, sums, greatest, first_at, first_id, last_at,
       last_id, said
FROM tally_rows WHERE tenant_id = ANY($1::int[])

-- scores_add: add to scores; tells what they are now, and which actors were not on their board before
INSERT INTO board_scores AS b (tenant_id, board, timeframe, bucket, actor, score)
SELECT o, n, f, to_timestamp(u), a, s FROM unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::bigint[])
    WITH ORDINALITY AS new (o, n, f, u, a, s, place) ORDER BY place
ON CONFLICT (tenant_id, board, timeframe, bucket, actor) DO UPDATE SET score = b.score + excluded.score
RETURNING tenant_id, board, timeframe, extract(epoch FROM bucket)::bigint AS bucket, actor, score, xmax = 0 AS entered

-- levels_add: participants come to a level of score, or leave it
INSERT INTO board_levels AS b (shard, tenant_id, board, timeframe, bucket, level, participants)
SELECT $1, o, n, f, to_timestamp(u), l, p FROM unnest($2::int[], $3::text[], $4::text[], $5::bigint[], $6::int[], $7::bigint[])
    AS new (o, n, f, u, l, p)
ON CONFLICT (shard, tenant_id, board, timeframe, bucket, level) DO UPDATE SET participants = b.participants + excluded.participants

-- scores_stored: all scores of these tenants
SELECT tenant_id, board, timeframe, extract(epoch FROM bucket)::bigint AS bucket, actor, score
FROM board_scores WHERE tenant_id = ANY($1::int[])

-- levels_stored: how many participants of these tenants have which level, stripes merged
SELECT tenant_id, board, timeframe, extract(epoch FROM bucket)::bigint AS bucket, level, sum(participants)::bigint AS participants
FROM board_levels WHERE tenant_id = ANY($1::int[]) GROUP BY 1, 2, 3, board_levels.bucket, 5 HAVING sum(participants) <> 0
