-- Keeping the event log within its days and bytes. {partition} is a partition's own name, made from a day.

-- archives: every archive, oldest first
SELECT * FROM archives ORDER BY applied_day, shard, part

-- archives_of_day: a day's archives
SELECT * FROM archives WHERE applied_day = $1 ORDER BY shard, part

-- archives_alone: archives whose entries the log holds no more; $1: of one shard, or null
SELECT * FROM archives WHERE state = 'archived' AND ($1::smallint IS NULL OR shard = $1) ORDER BY applied_day, shard, part

-- hold: until the transaction ends, no day leaves the log; without it, one may between two looks
LOCK TABLE event_log IN ACCESS SHARE MODE

-- log_rows: entries as they are
SELECT applied_day, shard, lane, first, n, applied_at, tenants, first_at, last_at, outcomes, digest, payload
FROM event_log WHERE $1::smallint IS NULL OR shard = $1 ORDER BY shard, lane, first

-- days: the log's partitions with their sizes
SELECT c.relname AS name, pg_total_relation_size(c.oid) AS bytes FROM pg_class c JOIN pg_inherits i ON c.oid = i.inhrelid
WHERE i.inhparent = 'event_log'::regclass ORDER BY c.relname

-- shards_of_day: which shards a day has entries of, what these touch, and whose events there are
SELECT e.shard, count(*) AS entries, sum(e.n)::bigint AS events, min(e.applied_at) AS first_applied, max(e.applied_at) AS last_applied,
       min(e.first_at) AS first_at, max(e.last_at) AS last_at, sum(length(e.payload))::bigint AS bytes
FROM event_log e WHERE e.applied_day = $1 GROUP BY e.shard ORDER BY e.shard

-- page: a day's entries of a shard, in the order of their names, up to $5 of them and about $6 events
SELECT * FROM (
    SELECT applied_day, shard, lane, first, n, applied_at, tenants, first_at, last_at, outcomes, digest, payload,
           sum(n) OVER (ORDER BY lane, first) - n AS before
    FROM (
        SELECT * FROM event_log WHERE applied_day = $1 AND shard = $2 AND (lane, first) > ($3, $4) ORDER BY lane, first LIMIT $5
    ) page
) counted WHERE before < $6 ORDER BY lane, first

-- digests: the same, without what they hold
SELECT lane, first, digest FROM event_log
WHERE applied_day = $1 AND shard = $2 AND (lane, first) > ($3, $4) ORDER BY lane, first LIMIT $5

-- admitted: dimension values that were admitted on days between two moments
SELECT tenant_id, dimension, extract(epoch FROM day)::bigint AS day, rank, value FROM dimension_values WHERE day >= $1 AND day <= $2

-- part_next: the number of a day's and shard's next part: one that is written and not yet alone is written again
SELECT coalesce(max(part) FILTER (WHERE state = 'written'), max(part) + 1, 0) AS part FROM archives WHERE applied_day = $1 AND shard = $2

-- archive_store: a file is where it belongs
INSERT INTO archives (applied_day, shard, part, file, bytes, sha256, content, entries, events, first_applied, last_applied, first_at,
    last_at, tenants, expired, counts, lanes, summaries, metrics, seal)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
ON CONFLICT (applied_day, shard, part) DO UPDATE SET revision = 0, file = excluded.file, bytes = excluded.bytes,
    sha256 = excluded.sha256, content = excluded.content, entries = excluded.entries, events = excluded.events,
    first_applied = excluded.first_applied, last_applied = excluded.last_applied, first_at = excluded.first_at,
    last_at = excluded.last_at, tenants = excluded.tenants, expired = excluded.expired, counts = excluded.counts,
    lanes = excluded.lanes, summaries = excluded.summaries, metrics = excluded.metrics, seal = excluded.seal,
    obsolete = array_remove(archives.obsolete || archives.file, excluded.file),
    written_at = now()
WHERE archives.state = 'written'

-- archive_rewrite: a file without some events; nothing when somebody else was here
UPDATE archives SET revision = revision + 1, file = $5, bytes = $6, sha256 = $7, tenants = $8, expired = $9, counts = $10,
    summaries = $11, seal = $12, obsolete = array_remove(obsolete || file, $5)
WHERE applied_day = $1 AND shard = $2 AND part = $3 AND revision = $4 RETURNING revision

-- archives_obsolete: archives with former files
SELECT applied_day, shard, part, file, obsolete FROM archives WHERE obsolete <> '{}'

-- obsolete_removed: a former file is gone
UPDATE archives SET obsolete = array_remove(obsolete, $4) WHERE applied_day = $1 AND shard = $2 AND part = $3

-- partition_freeze: nobody writes to a partition any more; reading goes on
LOCK TABLE {partition} IN SHARE ROW EXCLUSIVE MODE

-- partition_detach: it is no part of the log any more
ALTER TABLE event_log DETACH PARTITION {partition}

-- partition_drop: it is gone
DROP TABLE {partition}

-- archived: a day's entries are in its archives alone
UPDATE archives SET state = 'archived' WHERE applied_day = $1 AND state = 'written'

-- figures: what archives amount to
SELECT count(DISTINCT applied_day) AS days, coalesce(sum(bytes), 0)::bigint AS bytes FROM archives

-- tenants_short: tenants whose events are kept for less than for ever
SELECT tenant_id, name, retention_days FROM tenants WHERE retention_days IS NOT NULL AND status <> 'deleting' ORDER BY tenant_id

-- archives_expiring: archives that hold events of a tenant from before a day
SELECT * FROM archives WHERE state = 'archived' AND $1 = ANY (tenants) AND applied_day < $2 ORDER BY applied_day, shard, part

-- archive_discard: the log still holds all of it
DELETE FROM archives WHERE applied_day = $1 AND shard = $2 AND part = $3 AND state = 'written'

-- archives_of_tenant: archives that may hold something of a tenant: events, ones from before it was known, or figures
SELECT * FROM archives WHERE tenants && ARRAY[0, $1::int] OR $1 = ANY (expired) ORDER BY applied_day, shard, part
