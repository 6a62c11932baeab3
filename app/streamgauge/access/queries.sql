-- Access keys.

-- key: a key that may be used, by its public name
SELECT k.digest, t.name AS tenant, t.tenant_id, t.status, k.scopes, k.role, k.groups, k.actor, k.source,
       coalesce((t.policies->>'people')::boolean, true) AS people, (t.budgets->>'requests_per_minute')::int AS budget
FROM access_keys k LEFT JOIN tenants t USING (tenant_id)
WHERE k.key_id = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())

-- tenant_of_token: the tenant that a token names
SELECT tenant_id, status, coalesce((policies->>'people')::boolean, true) AS people, (budgets->>'requests_per_minute')::int AS budget
FROM tenants WHERE name = $1

-- key_store: a new key of a tenant, or of the platform without one; returns nothing without such a tenant
INSERT INTO access_keys (key_id, digest, tenant_id, scopes, actor, source, label, expires_at, role, groups)
SELECT $1, $2, (SELECT tenant_id FROM tenants WHERE name = $3), $4, $5, $6, $7, now() + $8 * interval '1 day', $9, $10
WHERE $3::text IS NULL OR EXISTS (SELECT FROM tenants WHERE name = $3) RETURNING key_id

-- keys: every key, the newest last
SELECT k.key_id, t.name AS tenant, k.scopes, k.role, k.groups, k.actor IS NOT NULL AS has_actor, k.source, k.label, k.created_at, k.expires_at,
       k.revoked_at, k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AS usable
FROM access_keys k LEFT JOIN tenants t USING (tenant_id) WHERE $1::text IS NULL OR t.name = $1 ORDER BY k.created_at, k.key_id

-- key_revoke: a key that is not to be used any more
UPDATE access_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = $1 RETURNING tenant_id

-- audit_append: one more row of a tenant's chain ($2: microseconds, $3: what was done). The end of the chain is locked until the transaction ends.
WITH head AS (
    INSERT INTO audit_heads AS h (tenant_id, sequence, digest)
    VALUES ($1, 1, sha256(decode(repeat('00', 32), 'hex') || convert_to('1|' || $2::bigint || '|' || $3::text, 'UTF8')))
    ON CONFLICT (tenant_id) DO UPDATE SET
        sequence = h.sequence + 1,
        digest = sha256(h.digest || convert_to((h.sequence + 1) || '|' || $2::bigint || '|' || $3::text, 'UTF8'))
    RETURNING sequence, digest
)
INSERT INTO audit_log (tenant_id, sequence, at, entry, digest) SELECT $1, sequence, $2, $3, digest FROM head

-- audit_heads: where every chain ends
SELECT tenant_id, sequence, digest FROM audit_heads

-- audit_tenants: whose chains there are
SELECT DISTINCT tenant_id FROM audit_log

-- audit_page: the rows of one chain after a sequence
SELECT sequence, at, entry, digest FROM audit_log WHERE tenant_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3
