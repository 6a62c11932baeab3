-- Whether the shards are looked after.

-- worker_beats: whether a worker's heartbeat is not older than a lease
SELECT seen_at > now() - $2 * interval '1 second' FROM workers WHERE worker_id = $1

-- shards_unattended: shards without a lease that still runs
SELECT shard FROM shards s WHERE s.retired_at IS NULL AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.shard = s.shard AND l.expires_at > now())
ORDER BY shard
