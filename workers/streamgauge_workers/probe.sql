-- What `streamgauge doctor --probe` asks while its event is under way.

-- probe_fate: whether the first number of a lane is done, and what the event log says of it
SELECT l.done @> 0::bigint AS done, e.outcomes FROM lanes l
LEFT JOIN event_log e ON e.shard = l.shard AND e.lane = l.lane AND e.first = 0 AND e.applied_day >= (now() - interval '1 day')::date
WHERE l.shard = $1 AND l.lane = $2

-- probe_readers: workers heard of within $2 seconds, and whether one of them holds the shard
SELECT (SELECT count(*) FROM workers WHERE seen_at > now() - $2 * interval '1 second') AS workers,
       EXISTS (SELECT 1 FROM leases WHERE shard = $1 AND expires_at > now()) AS held

-- probe_refused: why a lane's first number was put aside as part of its entry
SELECT reason FROM dead_letters WHERE shard = $1 AND lane = $2 ORDER BY number LIMIT 1
