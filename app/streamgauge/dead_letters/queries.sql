-- Dead letters: looked at, sent again, discarded. Whose they are is decided by whoever opened the transaction, and by $1 and $2.

-- letters: newest first, of everybody ($1), of a tenant ($2) or of none (null); by reason, state, time, ids, and before an id
SELECT d.dead_letter_id, d.tenant_id, t.name AS tenant, d.shard, d.lane, d.content_id, d.events, d.reason, d.state, d.detail, d.at, d.cut_from,
       d.event IS NOT NULL OR d.raw IS NOT NULL AS kept, d.replay_lane, d.requested_at, d.requested_by, d.decided_at, d.decided_by
FROM dead_letters d LEFT JOIN tenants t USING (tenant_id)
WHERE ($1 OR d.tenant_id IS NOT DISTINCT FROM $2::int) AND ($3::text IS NULL OR d.reason = $3) AND ($4::text IS NULL OR d.state = $4)
  AND ($5::timestamptz IS NULL OR d.at >= $5) AND ($6::timestamptz IS NULL OR d.at < $6)
  AND ($7::bigint[] IS NULL OR d.dead_letter_id = ANY($7)) AND ($8::bigint IS NULL OR d.dead_letter_id < $8)
ORDER BY d.dead_letter_id DESC LIMIT $9

-- contents: what these letters hold
SELECT dead_letter_id, event::text AS event, raw FROM dead_letters WHERE dead_letter_id = ANY($1::bigint[])

-- streams: which stream a shard's events came from
SELECT shard, generation, number FROM shards WHERE shard = ANY($1::smallint[])

-- others_read: whether a stream of another generation is still read
SELECT EXISTS (SELECT FROM shards WHERE generation <> $1 AND retired_at IS NULL)

-- tenants_there: which of these tenants are there to stay
SELECT name FROM tenants WHERE name = ANY($1::text[]) AND status <> 'deleting'

-- tenants_gone: which of these names were a deleted tenant's, and since when (microseconds) they are another one's, null: nobody's
SELECT r.tenant, max((extract(epoch FROM t.created_at) * 1000000)::bigint) AS again
FROM deletion_receipts r LEFT JOIN tenants t ON t.name = r.tenant
WHERE r.tenant = ANY($1::text[]) AND r.deleted_at IS NOT NULL GROUP BY r.tenant

-- request: letters that are to be sent again, each in its lane, which workers trust from then on
UPDATE dead_letters d SET replay_lane = w.lane, requested_at = now(), requested_by = $3
FROM unnest($1::bigint[], $2::bytea[]) AS w (id, lane) WHERE d.dead_letter_id = w.id

-- discard: open letters lose what they held; the row and its counts stay
UPDATE dead_letters SET state = 'discarded', event = NULL, raw = NULL, detail = NULL, decided_at = now(), decided_by = $2
WHERE dead_letter_id = ANY($1::bigint[]) AND state = 'open' RETURNING dead_letter_id
