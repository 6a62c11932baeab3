-- Who may ask, and what is going on right now.

-- A key is shown once and kept as its SHA-256: at 256 random bits nothing slower is needed.
CREATE TABLE access_keys (
    key_id     text PRIMARY KEY CHECK (key_id ~ '^[0-9a-z]{12}$'),
    digest     bytea NOT NULL CHECK (length(digest) = 32),
    tenant_id  int NOT NULL REFERENCES tenants ON DELETE CASCADE,
    -- What it may do: write events, read answers; admin reads as of another moment too.
    scopes     text[] NOT NULL CHECK (scopes <@ ARRAY['write', 'read', 'admin'] AND cardinality(scopes) > 0),
    -- Whom events sent with it are about, as a pseudonym; null: nobody in particular.
    actor      bytea CHECK (length(actor) = 17),
    -- What events sent with it are marked as: a browser's key is public, so its events are not trusted like a server's.
    source     text NOT NULL DEFAULT 'server' CHECK (source IN ('server', 'browser')),
    label      text NOT NULL DEFAULT '' CHECK (length(label) <= 200),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX access_keys_by_tenant ON access_keys (tenant_id);

-- The newest events of a tenant in one stripe, newest first and never more than ten: what a live view shows. Written with the
-- batch; not part of what is verified, since it forgets. Each is {"at": microseconds since 1970, "name", "actor": pseudonym in
-- hexadecimal or null, "group", "session": whether there is one, "properties": up to five declared ones}; texts are cut.
CREATE TABLE recent_activity (
    shard      smallint NOT NULL,
    tenant_id  int NOT NULL,
    activities jsonb NOT NULL,
    PRIMARY KEY (shard, tenant_id)
) WITH (fillfactor = 50);

-- Distinct actors of ten-second buckets of the last six minutes: the union of a bucket's parts (roaring bitmaps of dense ids).
-- Rows of before the last ten minutes are removed, so a reader says how far back it looks.
CREATE TABLE recent_actors (
    shard     smallint NOT NULL,
    tenant_id int NOT NULL,
    bucket    timestamptz NOT NULL,
    part      int NOT NULL,
    members   bytea NOT NULL,
    PRIMARY KEY (shard, tenant_id, bucket, part)
);
