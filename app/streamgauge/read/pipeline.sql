-- What the database knows of the pipeline's state, for the server's metrics.

-- ledger: events by what became of them, over all time
SELECT outcome, reason, sum(events)::bigint AS events FROM outcome_ledger GROUP BY outcome, reason

-- positions: how far each shard has been applied
SELECT shard, number, position_ms, position_seq, applied_at FROM shards WHERE generation = $1 ORDER BY shard

-- dead_letters: what waits for somebody to look at it
SELECT reason, count(*) AS letters, sum(events)::bigint AS events FROM dead_letters GROUP BY reason

-- lost: announced events that are not there, of lanes still known and of forgotten ones
SELECT coalesce(sum("end" - (
           SELECT coalesce(sum(least(upper(r), "end") - lower(r)), 0) FROM unnest(done) r WHERE lower(r) < "end"
       )), 0)::bigint AS known,
       (SELECT coalesce(sum(lost), 0)::bigint FROM forgotten_lanes) AS forgotten
FROM lanes WHERE NOT stray
