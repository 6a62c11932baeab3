-- Access keys.

-- key: a key that may be used, by its public name
SELECT k.digest, t.name AS tenant, k.scopes, k.actor, k.source FROM access_keys k JOIN tenants t USING (tenant_id)
WHERE k.key_id = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())

-- key_store: a new key of a tenant; returns nothing without such a tenant
INSERT INTO access_keys (key_id, digest, tenant_id, scopes, actor, source, label, expires_at)
SELECT $1, $2, tenant_id, $4, $5, $6, $7, now() + $8 * interval '1 day' FROM tenants WHERE name = $3 RETURNING key_id

-- keys: every key, the newest last
SELECT k.key_id, t.name AS tenant, k.scopes, k.actor IS NOT NULL AS has_actor, k.source, k.label, k.created_at, k.expires_at, k.revoked_at,
       k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AS usable
FROM access_keys k JOIN tenants t USING (tenant_id) WHERE $1::text IS NULL OR t.name = $1 ORDER BY k.created_at, k.key_id

-- key_revoke: a key that is not to be used any more
UPDATE access_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = $1 RETURNING key_id
