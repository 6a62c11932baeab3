-- What the database knows of the pipeline's state, for the server's metrics and its API.

-- ledger: events by what became of them, over all time
SELECT outcome, reason, sum(events)::bigint AS events FROM outcome_ledger GROUP BY outcome, reason

-- positions: how far each shard that is read has been applied
SELECT shard, generation, number, position_ms, position_seq, applied_at FROM shards WHERE retired_at IS NULL ORDER BY shard

-- dead_letters: what waits for somebody to look at it
SELECT reason, count(*) AS letters, sum(events)::bigint AS events FROM dead_letters WHERE state = 'open' GROUP BY reason

-- lost: announced events that are not there, of lanes still known and of forgotten ones
SELECT coalesce(sum("end" - (
           SELECT coalesce(sum(least(upper(r), "end") - lower(r)), 0) FROM unnest(done) r WHERE lower(r) < "end"
       )), 0)::bigint AS known,
       (SELECT coalesce(sum(lost), 0)::bigint FROM forgotten_lanes) AS forgotten
FROM lanes WHERE NOT stray

-- workers: who works, and the seconds since each said so
SELECT host, pid, started_at, seen_at, extract(epoch FROM now() - seen_at)::float8 AS silent FROM workers ORDER BY started_at, worker_id

-- held: the shards that a worker holds the lease of
SELECT shard FROM leases WHERE expires_at > now()

-- drops: what producers say they dropped before it was numbered
SELECT reason, sum(events::bigint)::bigint AS events FROM lanes, jsonb_each_text(drops) AS d (reason, events) GROUP BY reason ORDER BY reason
