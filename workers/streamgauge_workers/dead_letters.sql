-- What was refused, and shards that stopped before they refused nearly everything.

-- store: keep what was refused; returns what had not been kept before
INSERT INTO dead_letters (shard, tenant_id, lane, number, content_id, events, reason, detail, raw, cut_from)
SELECT $1, t, l, n, c, k, r, d, w, s FROM unnest($2::int[], $3::bytea[], $4::bigint[], $5::bytea[], $6::int[], $7::text[],
    $8::text[], $9::bytea[], $10::int[]) AS new (t, l, n, c, k, r, d, w, s)
ON CONFLICT (content_id) DO NOTHING RETURNING reason, events

-- waiting: how many letters of a tenant (0: nobody's) and reason wait with what they held, $4 at most
SELECT count(*)::int FROM (
    SELECT FROM dead_letters WHERE shard = $1 AND coalesce(tenant_id, 0) = $2 AND reason = $3 AND state = 'open' AND raw IS NOT NULL
    LIMIT $4
) AS letters

-- count: refused events that are not kept
INSERT INTO dead_letters_counted (shard, tenant_id, reason, hour, events)
SELECT $1, t, r, date_trunc('hour', now(), 'UTC'), n FROM unnest($2::int[], $3::text[], $4::bigint[]) AS new (t, r, n)
ON CONFLICT (shard, tenant_id, reason, hour) DO UPDATE SET events = dead_letters_counted.events + excluded.events

-- expire: remove what old letters held, $3 of them at most
UPDATE dead_letters SET event = NULL, raw = NULL, detail = NULL WHERE dead_letter_id IN (
    SELECT dead_letter_id FROM dead_letters WHERE shard = $1 AND state = 'open' AND raw IS NOT NULL AND at < now() - $2::interval
        -- Asked for, it may be on its way.
        AND (requested_at IS NULL OR requested_at < now() - interval '1 day')
    LIMIT $3 FOR UPDATE SKIP LOCKED)

-- replayed: the letters whose replays these lanes are; what was discarded meanwhile was replayed all the same
UPDATE dead_letters SET state = 'replayed', decided_at = now(), decided_by = requested_by
WHERE replay_lane = ANY($1::bytea[]) AND state <> 'replayed' RETURNING replay_lane

-- revised: history changed for the tenants of these lanes' events; in one order, so that two shards wait for each other instead of forever
UPDATE tenants t SET revision = revision + 1 FROM (
    SELECT tenant_id FROM tenants WHERE tenant_id IN (SELECT unnest(tenants) FROM event_log WHERE shard = $1 AND lane = ANY($2::bytea[])
        AND applied_day >= (now() AT TIME ZONE 'UTC')::date)
    ORDER BY tenant_id FOR NO KEY UPDATE
) AS changed WHERE t.tenant_id = changed.tenant_id

-- stop: whether a shard is stopped, and for how many seconds somebody allows it to go on (negative: it was allowed and is over)
SELECT percent, processed, refused, reasons, extract(epoch FROM allowed_until - now())::float8 AS allowed FROM shard_stops WHERE shard = $1

-- stop_store: a shard stops
INSERT INTO shard_stops (shard, percent, processed, refused, reasons) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (shard) DO UPDATE SET stopped_at = now(), percent = excluded.percent, processed = excluded.processed,
    refused = excluded.refused, reasons = excluded.reasons, allowed_until = NULL, allowed_by = NULL

-- stop_lift: a shard goes on as others do
DELETE FROM shard_stops WHERE shard = $1

-- stop_allow: let a stopped shard go on for $2 hours, whatever it refuses; nothing when it is not stopped
UPDATE shard_stops SET allowed_until = now() + $2 * interval '1 hour', allowed_by = $3 WHERE shard = $1 RETURNING shard

-- stops: shards that are stopped and not allowed to go on
SELECT shard, stopped_at, percent, processed, refused, reasons FROM shard_stops WHERE allowed_until IS NULL ORDER BY shard
