-- What is asked about the whole installation, for its owners.

-- database: version, bytes, and connections used of those allowed. Of other users' sessions their kind may not be seen: they count too.
SELECT current_setting('server_version') AS version,
       CASE WHEN has_database_privilege(current_database(), 'connect') THEN pg_database_size(current_database()) END AS bytes,
       (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend') AS used,
       current_setting('max_connections')::int AS allowed

-- processed: events of all tenants that were processed in the last full UTC hour, whatever became of them
SELECT date_trunc('hour', now()) - interval '1 hour' AS start,
       (SELECT coalesce(sum(events), 0)::bigint FROM outcome_ledger
        WHERE hour >= date_trunc('hour', now()) - interval '1 hour' AND hour < date_trunc('hour', now())) AS events
