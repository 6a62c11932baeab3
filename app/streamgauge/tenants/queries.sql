-- Tenants and their groups.

-- tenants: those that the transaction may see, by name
SELECT t.tenant_id, t.name, t.display_name, t.status, t.retention_days, t.policies::text, t.budgets::text, t.created_at,
       (SELECT z.time_zone FROM tenant_time_zones z WHERE z.tenant_id = t.tenant_id AND z.effective_from <= now()
        ORDER BY z.effective_from DESC LIMIT 1) AS time_zone,
       (SELECT z.time_zone FROM tenant_time_zones z WHERE z.tenant_id = t.tenant_id AND z.effective_from > now()
        ORDER BY z.effective_from LIMIT 1) AS next_zone,
       (SELECT min(z.effective_from) FROM tenant_time_zones z WHERE z.tenant_id = t.tenant_id AND z.effective_from > now()) AS next_from
FROM tenants t WHERE ($1::text IS NULL OR t.name = $1) AND ($2::text IS NULL OR t.name > $2) ORDER BY t.name LIMIT $3

-- tenant_make: a new tenant; returns nothing where there is one of that name
INSERT INTO tenants (name, display_name, retention_days, policies, budgets) VALUES ($1, $2, $3, $4::jsonb, $5::jsonb)
ON CONFLICT (name) DO NOTHING RETURNING tenant_id

-- tenant_zone_first: the zone a tenant begins with
INSERT INTO tenant_time_zones (tenant_id, time_zone) VALUES ($1, $2)

-- tenant_zone_forget: a zone that was announced before, and that no event can have been counted in yet
DELETE FROM tenant_time_zones WHERE tenant_id = $1 AND effective_from > now() + interval '10 minutes'

-- tenant_zone_next: the zone a tenant has from the first whole hour that lies ten minutes ahead
INSERT INTO tenant_time_zones (tenant_id, effective_from, time_zone)
VALUES ($1, date_trunc('hour', now() + interval '70 minutes'), $2)

-- tenant_describe: what its admins may change
UPDATE tenants SET display_name = $2, retention_days = $3, policies = $4::jsonb WHERE tenant_id = $1

-- tenant_govern: what the platform alone may change
UPDATE tenants SET status = $2, budgets = $3::jsonb WHERE tenant_id = $1

-- tenant_leave: a tenant that is to be deleted, its receipt, and its keys ended
WITH leaving AS (UPDATE tenants SET status = 'deleting' WHERE name = $1 AND status <> 'deleting' RETURNING tenant_id, name),
     ended AS (UPDATE access_keys k SET revoked_at = coalesce(k.revoked_at, now()) FROM leaving l WHERE k.tenant_id = l.tenant_id)
INSERT INTO deletion_receipts (tenant, requested_by) SELECT name, $2 FROM leaving RETURNING receipt_id

-- receipt: what became of a deletion
SELECT receipt_id, tenant, requested_at, deleted_at, content::text FROM deletion_receipts WHERE receipt_id = $1

-- receipt_of: the newest receipt of a tenant
SELECT receipt_id, tenant, requested_at, deleted_at, content::text FROM deletion_receipts WHERE tenant = $1 ORDER BY requested_at DESC LIMIT 1

-- groups: a tenant's groups after one of them, by id
SELECT g.group_id, g.name, g.kind, g.created_at,
       (SELECT count(*) FROM group_members m WHERE m.tenant_id = g.tenant_id AND m.group_id = g.group_id AND NOT m.manager) AS members,
       (SELECT count(*) FROM group_members m WHERE m.tenant_id = g.tenant_id AND m.group_id = g.group_id AND m.manager) AS managers
FROM groups g WHERE g.tenant_id = $1 AND ($2::text IS NULL OR g.group_id = $2) AND ($3::text IS NULL OR g.group_id > $3)
ORDER BY g.group_id LIMIT $4

-- group_count: how many groups a tenant has beside these
SELECT count(*) FROM groups WHERE tenant_id = $1 AND group_id <> ALL ($2::text[])

-- groups_keep: groups, made or renamed
INSERT INTO groups (tenant_id, group_id, name, kind) SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[])
ON CONFLICT (tenant_id, group_id) DO UPDATE SET name = excluded.name, kind = excluded.kind

-- members_leave: who is in one of these groups and not among those given; returns how many left
WITH given AS (SELECT * FROM unnest($3::text[], $4::bytea[]) AS g (group_id, actor)),
     gone AS (
         DELETE FROM group_members m WHERE m.tenant_id = $1 AND m.group_id = ANY ($2::text[])
           AND NOT EXISTS (SELECT FROM given g WHERE g.group_id = m.group_id AND g.actor = m.actor) RETURNING 1
     )
SELECT count(*) FROM gone

-- members_join: who is now in a group, and as what; returns how many are new and how many became something else
WITH joined AS (
    INSERT INTO group_members AS m (tenant_id, group_id, actor, manager)
    SELECT $1, * FROM unnest($2::text[], $3::bytea[], $4::boolean[])
    ON CONFLICT (tenant_id, group_id, actor) DO UPDATE SET manager = excluded.manager WHERE m.manager <> excluded.manager
    RETURNING (xmax = 0) AS fresh
)
SELECT count(*) FILTER (WHERE fresh) AS added, count(*) FILTER (WHERE NOT fresh) AS changed FROM joined

-- group_remove: a group with its members; returns it if it was there
DELETE FROM groups WHERE tenant_id = $1 AND group_id = $2 RETURNING group_id
