-- Tenants as something to be administered, groups of people, roles of keys, the audit log, and row-level security.

-- Roles are the cluster's, not the database's: another database may have made them. Nobody logs in as them; the server's
-- connections become streamgauge_api, which sees one tenant a transaction, or streamgauge_platform where no tenant is asked for.
DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['streamgauge_api', 'streamgauge_platform'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOINHERIT', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- somebody else did, just now
            END;
        END IF;
        -- Tried, not asked: PostgreSQL 16 knows members that may not become what they are members of.
        BEGIN
            EXECUTE format('SET LOCAL ROLE %I', role_name);
            SET LOCAL ROLE NONE;
        EXCEPTION WHEN insufficient_privilege THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        END;
    END LOOP;
END
$$;

ALTER TABLE tenants
    -- `name` is what events carry, and stays; this is what people read.
    ADD display_name   text NOT NULL DEFAULT '' CHECK (length(display_name) <= 200),
    ADD status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'deleting')),
    ADD retention_days int CHECK (retention_days BETWEEN 1 AND 3650),
    ADD policies       jsonb NOT NULL DEFAULT '{}',
    ADD budgets        jsonb NOT NULL DEFAULT '{}';

-- Classes, teams: whom an analyst may be limited to.
CREATE TABLE groups (
    tenant_id  int NOT NULL REFERENCES tenants ON DELETE CASCADE,
    group_id   text NOT NULL CHECK (length(group_id) BETWEEN 1 AND 100),
    name       text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    kind       text NOT NULL DEFAULT '' CHECK (length(kind) <= 50),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, group_id)
);

CREATE TABLE group_members (
    tenant_id int NOT NULL,
    group_id  text NOT NULL,
    actor     bytea NOT NULL CHECK (length(actor) = 17),
    manager   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, group_id, actor),
    FOREIGN KEY (tenant_id, group_id) REFERENCES groups ON DELETE CASCADE
);
CREATE INDEX group_members_by_actor ON group_members (tenant_id, actor);

-- Lists of people begin with dense ids.
CREATE INDEX actors_by_id ON actors (tenant_id, actor_id);

-- Keys: what their holder is, and of whom it may see something. An owner's key is of no tenant.
ALTER TABLE access_keys
    ALTER tenant_id DROP NOT NULL,
    ADD role   text,
    ADD groups text[] CONSTRAINT access_keys_most_groups CHECK (cardinality(groups) <= 500),
    DROP CONSTRAINT access_keys_scopes_check,
    ADD CONSTRAINT access_keys_scopes_check
        CHECK (scopes <@ ARRAY['write', 'read', 'admin', 'platform'] AND cardinality(scopes) > 0);
UPDATE access_keys SET role = CASE WHEN 'admin' = ANY (scopes) THEN 'admin' WHEN 'read' = ANY (scopes) THEN 'analyst' ELSE 'writer' END;
ALTER TABLE access_keys
    ALTER role SET NOT NULL,
    ADD CONSTRAINT access_keys_role_check CHECK (role IN ('member', 'analyst', 'admin', 'writer', 'owner')),
    ADD CONSTRAINT access_keys_owner_check CHECK ((role = 'owner') = (tenant_id IS NULL) AND (role = 'owner') = ('platform' = ANY (scopes))),
    ADD CONSTRAINT access_keys_member_check CHECK (role <> 'member' OR actor IS NOT NULL),
    ADD CONSTRAINT access_keys_groups_check CHECK (groups IS NULL OR role = 'analyst');

-- Reads of personal data, exports, changes of keys and policies. Each row's digest is over the one before it, so that a row
-- that is changed, removed or put in between breaks the chain. tenant_id 0: the platform's own.
CREATE TABLE audit_log (
    tenant_id int NOT NULL,
    sequence  bigint NOT NULL CHECK (sequence > 0),
    at        bigint NOT NULL, -- microseconds since 1970
    entry     text NOT NULL CHECK (length(entry) <= 10000),
    digest    bytea NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (tenant_id, sequence)
);

-- Where each chain ends: what a removed end is found by, and what makes appending take turns.
CREATE TABLE audit_heads (
    tenant_id int PRIMARY KEY,
    sequence  bigint NOT NULL,
    digest    bytea NOT NULL CHECK (length(digest) = 32)
);

-- What was deleted with a tenant, for whoever asks later. Without `deleted_at` it is asked for, and a worker is to do it.
CREATE TABLE deletion_receipts (
    receipt_id   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant       text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by text NOT NULL,
    deleted_at   timestamptz,
    -- Rows by table, entries of the event log that were rewritten, and what is left on purpose.
    content      jsonb
);

-- How many shards there are was never written down; see streamgauge_workers.installation.
INSERT INTO installation (name, value) SELECT 'shards', count(*)::text FROM shards HAVING count(*) > 0 ON CONFLICT DO NOTHING;

-- What the names of rate limits in Redis are made with, so that who has Redis' files alone cannot try out addresses.
INSERT INTO installation (name, value)
VALUES ('limits_secret', encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex'));

-- Row-level security ----------------------------------------------------------------------------------------------------

-- Forced, so that it holds for the tables' owner too, who is let through by a policy of its own: worker and commands work on all
-- tenants. Who has the right of streamgauge_api sees rows of the transaction's tenant, and none without one.
DO $$
DECLARE name text; mine CONSTANT text := '(SELECT nullif(current_setting(''streamgauge.tenant_id'', true), '''')::int)';
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'tenants', 'tenant_time_zones', 'imports', 'dead_letters', 'outcome_ledger', 'series', 'hourly_summary', 'daily_summary',
        'summary_members', 'actors', 'dimension_values', 'dimension_overflow', 'verifications', 'access_keys', 'recent_activity',
        'recent_actors', 'groups', 'group_members', 'audit_log', 'audit_heads'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY all_tenants ON %I TO CURRENT_USER, streamgauge_platform USING (true) WITH CHECK (true)', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I TO streamgauge_api USING (tenant_id = %s) WITH CHECK (tenant_id = %2$s)', name, mine);
    END LOOP;
    -- An entry of the log holds events of several tenants: who reads it has to leave out the others'.
    ALTER TABLE event_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_tenants ON event_log TO CURRENT_USER, streamgauge_platform USING (true) WITH CHECK (true);
    EXECUTE format('CREATE POLICY one_tenant ON event_log TO streamgauge_api USING (tenants @> ARRAY[%s])', mine);
END
$$;

GRANT USAGE ON SCHEMA public TO streamgauge_api, streamgauge_platform;

-- Of a tenant, what its answers are made from; of the pipeline, which knows no tenants, how it is.
GRANT SELECT ON
    tenants, tenant_time_zones, imports, outcome_ledger, series, hourly_summary, daily_summary, summary_members, actors,
    dimension_values, dimension_overflow, verifications, recent_activity, recent_actors, groups, group_members, audit_log, audit_heads,
    event_log, shards, lanes, forgotten_lanes, workers, leases, installation, schema_migrations
TO streamgauge_api;
-- Digests of keys are nobody's to read, their own tenant's included.
GRANT SELECT (key_id, tenant_id, scopes, actor, source, label, created_at, expires_at, revoked_at, role, groups) ON access_keys TO streamgauge_api;
GRANT INSERT, UPDATE (revoked_at) ON access_keys TO streamgauge_api;
GRANT UPDATE (display_name, retention_days, policies) ON tenants TO streamgauge_api;
GRANT INSERT, DELETE ON tenant_time_zones TO streamgauge_api;
GRANT INSERT, UPDATE, DELETE ON groups, group_members TO streamgauge_api;
-- Appending only: what was written cannot be changed by the server.
GRANT INSERT ON audit_log TO streamgauge_api, streamgauge_platform;
GRANT INSERT, UPDATE ON audit_heads TO streamgauge_api, streamgauge_platform;

GRANT SELECT ON
    tenants, tenant_time_zones, access_keys, outcome_ledger, dead_letters, verifications, audit_log, audit_heads, deletion_receipts,
    shards, lanes, forgotten_lanes, workers, leases, installation, schema_migrations
TO streamgauge_platform;
GRANT INSERT, UPDATE ON tenants, access_keys TO streamgauge_platform;
GRANT INSERT, DELETE ON tenant_time_zones TO streamgauge_platform;
GRANT INSERT ON deletion_receipts TO streamgauge_platform;
