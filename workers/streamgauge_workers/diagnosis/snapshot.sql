-- What `streamgauge doctor` looks at. Nothing here changes anything.

-- clock: PostgreSQL's time, whether it takes writes, and what it waits for when it does
SELECT extract(epoch FROM clock_timestamp())::float8 AS at, pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool AS read_only,
       current_setting('fsync')::bool AS fsync, current_setting('full_page_writes')::bool AS full_pages,
       current_setting('synchronous_commit') AS synchronous

-- sessions: transactions of our database, whom they wait for, and which tables they keep everybody from
SELECT a.pid, coalesce(a.application_name, '') AS name, coalesce(host(a.client_addr), 'its machine') AS host,
       coalesce(a.state LIKE 'idle in transaction%', false) AS idle, extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS open,
       extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS since,
       a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL AS holds_back,
       CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}' END AS blocked_by,
       ARRAY(SELECT c.relname::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE l.pid = a.pid AND l.granted
             AND l.mode = 'AccessExclusiveLock' AND l.locktype = 'relation' AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
             ORDER BY c.relname) AS locked
FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL ORDER BY a.pid

-- shards: position, history and attempts of every shard, and whether nobody reads it any more
SELECT s.shard, s.generation, s.number, s.overflow, s.position_ms, s.position_seq, s.run_id, s.birthmark, s.attempts, s.applied_at, s.epoch,
       s.retired_at IS NOT NULL AS retired, l.worker_id, coalesce(l.expires_at > now(), false) AS leased
FROM shards s LEFT JOIN leases l USING (shard) ORDER BY s.shard

-- workers: who works, and how long ago they said so
SELECT worker_id, host, pid, extract(epoch FROM now() - seen_at)::float8 AS silent FROM workers ORDER BY seen_at DESC

-- dead_letters: what was put aside and waits for somebody
SELECT reason, sum(events)::bigint AS events, max(at) AS newest FROM dead_letters
WHERE state = 'open' AND reason IN ('late', 'future', 'undecodable', 'range_conflict', 'poison') GROUP BY reason ORDER BY reason

-- rejected: events that were rejected, and wait for somebody or are gone
SELECT reason, sum(events)::bigint AS events, max(at) AS newest FROM dead_letters
WHERE state = 'open' AND reason NOT IN ('late', 'future', 'undecodable', 'range_conflict', 'poison') GROUP BY reason
UNION ALL
SELECT reason, sum(events)::bigint, max(hour) FROM outcome_ledger WHERE outcome = 'rejected' AND reason = 'tenant_deleted' GROUP BY reason
ORDER BY reason

-- stops: shards that wait because too large a share of their events would be refused
SELECT shard, stopped_at, processed, refused, reasons::text AS reasons FROM shard_stops WHERE allowed_until IS NULL ORDER BY shard

-- losses: announced events that are not there, of known lanes and of forgotten ones
SELECT (SELECT coalesce(sum("end" - (
            SELECT coalesce(sum(least(upper(r), "end") - lower(r)), 0) FROM unnest(done) r WHERE lower(r) < "end"
        )), 0)::bigint FROM lanes WHERE NOT stray) AS known,
       (SELECT coalesce(sum(lost), 0)::bigint FROM forgotten_lanes) AS forgotten,
       (SELECT count(*) FROM forgotten_lanes) AS forgotten_lanes

-- holes: the lanes that most is missing of
SELECT shard, encode(lane, 'hex') AS lane, lost, closed, to_timestamp(born / 1000.0) AS born, to_timestamp(touched / 1000.0) AS heard FROM (
    SELECT *, "end" - (SELECT coalesce(sum(least(upper(r), "end") - lower(r)), 0)::bigint FROM unnest(done) r WHERE lower(r) < "end") AS lost
    FROM lanes WHERE NOT stray
) counted WHERE lost > 0 ORDER BY lost DESC, lane LIMIT 5

-- archives: files that alone hold days of the event log
SELECT file, bytes FROM archives WHERE state = 'archived' ORDER BY file

-- tenants: every tenant, and whether an event of it was ever applied
SELECT t.name, EXISTS (SELECT 1 FROM outcome_ledger o WHERE o.tenant_id = t.tenant_id AND o.outcome = 'applied') AS has_events
FROM tenants t ORDER BY t.name

-- partitions: the event log's partitions, and whether those of today and tomorrow are among them
SELECT to_regclass('event_log_' || to_char(now(), 'YYYYMMDD')) IS NOT NULL AS today,
       to_regclass('event_log_' || to_char(now() + interval '1 day', 'YYYYMMDD')) IS NOT NULL AS tomorrow,
       EXISTS (SELECT 1 FROM outcome_ledger WHERE hour >= date_trunc('day', now())) AS applied_today

-- pseudonymous: tenants that an id was ever given to an actor of, whose pseudonym is made with the tenant's key
SELECT name FROM tenants WHERE next_actor > 1 ORDER BY name

-- keyless: tenants without a valid key that may read
SELECT name FROM tenants t WHERE NOT EXISTS (
    SELECT 1 FROM access_keys k WHERE k.tenant_id = t.tenant_id AND k.scopes && ARRAY['read', 'admin'] AND k.role IN ('analyst', 'admin') AND k.groups IS NULL
        AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
) ORDER BY name

-- drops: events that producers announced as given up, by reason
SELECT reason, sum(events::bigint)::bigint AS events FROM lanes, jsonb_each_text(drops) AS dropped (reason, events)
WHERE drops <> '{}' GROUP BY reason ORDER BY reason

-- last_day: events read in the last day, and those that were refused for their time
SELECT coalesce(sum(events), 0)::bigint AS processed, coalesce(sum(events) FILTER (WHERE reason = 'late'), 0)::bigint AS late,
       coalesce(sum(events) FILTER (WHERE reason = 'future'), 0)::bigint AS future
FROM outcome_ledger WHERE hour > now() - interval '1 day'

-- log_size: bytes of the event log, and days since its oldest day that has entries
SELECT (SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint FROM pg_inherits WHERE inhparent = 'event_log'::regclass) AS bytes,
       (SELECT greatest(coalesce(current_date - min(applied_day), 0), 0) FROM event_log) AS oldest
