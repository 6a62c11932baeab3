-- Deleting a tenant. {table} is a table's own name, from the catalogue.

-- deletions: what is asked for, and whether what servers remember of its keys is over ($1: seconds)
SELECT r.receipt_id, r.tenant, t.tenant_id, clock_timestamp() > r.requested_at + $1 * interval '1 second' AS settled
FROM deletion_receipts r JOIN tenants t ON t.name = r.tenant
WHERE r.deleted_at IS NULL AND t.status = 'deleting' ORDER BY r.requested_at, r.receipt_id

-- deletion_turn: one worker at a time; only to save work, since every step holds by itself
SELECT pg_try_advisory_lock($1)

-- receipt_take: what was done so far; nothing when the deletion is complete
SELECT coalesce(content, '{}')::text FROM deletion_receipts WHERE receipt_id = $1 AND deleted_at IS NULL FOR UPDATE

-- receipt_store: what was done by now
UPDATE deletion_receipts SET content = $2 WHERE receipt_id = $1

-- receipt_complete: it is done
UPDATE deletion_receipts SET content = $2, deleted_at = $3 WHERE receipt_id = $1

-- receipts_complete: the same was asked for again meanwhile
UPDATE deletion_receipts SET content = jsonb_build_object('see', $2::uuid), deleted_at = $3 WHERE tenant = $1 AND deleted_at IS NULL

-- shards: every shard
SELECT shard, position_ms, position_seq FROM shards ORDER BY shard

-- shard_lock: a shard's token, after whoever is writing; nobody writes before this transaction ends
SELECT token FROM shards WHERE shard = $1 FOR UPDATE

-- shard_swap: move the token (rule P5), and nothing else: neither the position nor the count of attempts is ours
UPDATE shards SET token = gen_random_uuid() WHERE shard = $1 AND token = $2 RETURNING token

-- lanes_distrust: a tenant's imports and replays may not bring in history any more, and their lanes be forgotten
UPDATE lanes SET trusted = false
WHERE shard = $1 AND trusted AND lane IN (
    SELECT lane FROM imports WHERE tenant_id = $2 UNION ALL SELECT replay_lane FROM dead_letters WHERE tenant_id = $2)

-- log_days: days of which a shard has entries
SELECT DISTINCT applied_day FROM event_log WHERE shard = $1 ORDER BY applied_day

-- log_page: a day's entries that may hold events of a tenant (0: of unknown ones), in the order of their names, up to about $6 events
SELECT * FROM (
    SELECT applied_day, lane, first, n, applied_at, tenants, outcomes, digest, payload,
           sum(n) OVER (ORDER BY lane, first) - n AS before
    FROM (
        SELECT * FROM event_log
        WHERE applied_day = $1 AND shard = $2 AND (lane, first) > ($3, $4) AND tenants && ARRAY[0, $5::int]
        ORDER BY lane, first LIMIT 64
    ) page
) counted WHERE before < $6 ORDER BY lane, first

-- log_rewrite: an entry's new content; returns nothing when it is not what was read
UPDATE event_log SET tenants = $6, first_at = $7, last_at = $8, outcomes = $9, digest = $10, payload = $11
WHERE applied_day = $1 AND shard = $2 AND lane = $3 AND first = $4 AND digest = $5 RETURNING n

-- keys_forget: remembered keys
DELETE FROM event_keys WHERE shard = $1 AND event_id = ANY($2::bytea[])

-- ledger_erased: events whose outcomes go with their tenant stay in the sum, as nobody's
INSERT INTO outcome_ledger (shard, tenant_id, hour, outcome, events)
SELECT $1, 0, hour, 'erased', events FROM unnest($2::timestamptz[], $3::bigint[]) AS new (hour, events)
ON CONFLICT (shard, tenant_id, hour, outcome, reason) DO UPDATE SET events = outcome_ledger.events + excluded.events

-- letters_whole: entries that were refused as a whole, whoever's events they hold
SELECT dead_letter_id, shard, lane, raw FROM dead_letters
WHERE dead_letter_id > $1 AND tenant_id IS NULL AND raw IS NOT NULL ORDER BY dead_letter_id LIMIT 20

-- letter_rewrite: a refused entry without a tenant's events, or without its bytes; a replay that is under way is not trusted any more
UPDATE dead_letters SET raw = $2, detail = NULL, replay_lane = NULL WHERE dead_letter_id = $1 AND raw = $3 RETURNING dead_letter_id

-- tables: every table with a tenant's rows, its partitions apart; `parents`: tables its rows refer to
SELECT c.oid::regclass::text AS name, coalesce(pg_partition_root(c.oid), c.oid)::regclass::text AS root,
       EXISTS (SELECT FROM pg_attribute s WHERE s.attrelid = c.oid AND s.attname = 'shard' AND NOT s.attisdropped) AS sharded,
       ARRAY(SELECT f.confrelid::regclass::text FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f') AS parents
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind = 'r' AND a.attname = 'tenant_id' AND NOT a.attisdropped
  AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'tenants'::regclass)
ORDER BY name

-- pages: how many pages a table has
SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::int

-- rows_between: where a tenant's rows are, between two pages
SELECT ctid FROM {table} WHERE ctid >= $2::tid AND ctid < $3::tid AND tenant_id = $1

-- rows_between_sharded: the same, with the stripe each belongs to
SELECT ctid, shard FROM {table} WHERE ctid >= $2::tid AND ctid < $3::tid AND tenant_id = $1

-- rows_delete: a tenant's rows at these places
DELETE FROM {table} WHERE ctid = ANY($2::tid[]) AND tenant_id = $1

-- rows_delete_sharded: the same of one stripe
DELETE FROM {table} WHERE ctid = ANY($2::tid[]) AND tenant_id = $1 AND shard = $3

-- rows_any: whether there is one
SELECT EXISTS (SELECT FROM {table} WHERE tenant_id = $1)

-- audit_head: where a tenant's chain ends
SELECT sequence, digest FROM audit_heads WHERE tenant_id = $1 FOR UPDATE

-- audit_cut: remove what comes after a sequence
DELETE FROM audit_log WHERE tenant_id = $1 AND sequence > $2

-- audit_shorten: the chain ends here now
UPDATE audit_heads h SET sequence = l.sequence, digest = l.digest FROM audit_log l
WHERE h.tenant_id = $1 AND l.tenant_id = $1 AND l.sequence = $2

-- audit_end: there is no chain any more
DELETE FROM audit_heads WHERE tenant_id = $1

-- tenant_delete: the last of it
DELETE FROM tenants WHERE tenant_id = $1 AND status = 'deleting'
