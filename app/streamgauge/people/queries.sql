-- Who people are to us: pseudonyms, dense ids, groups.

-- members_of: everybody in these groups; managers are among them
SELECT DISTINCT actor FROM group_members WHERE tenant_id = $1 AND group_id = ANY($2::text[])

-- members_as: everybody who is in a group (null: in any of $3, null: in any at all) as a manager, or not as one (null: either way)
SELECT DISTINCT actor FROM group_members
WHERE tenant_id = $1 AND ($2::text IS NULL OR group_id = $2) AND ($3::text[] IS NULL OR group_id = ANY($3))
  AND ($4::boolean IS NULL OR manager = $4)

-- known: whether anything is known of an actor: events, or a place in a group
SELECT EXISTS (SELECT FROM actors WHERE tenant_id = $1 AND pseudonym = $2)
    OR EXISTS (SELECT FROM group_members WHERE tenant_id = $1 AND actor = $2)

-- known_among: those of these pseudonyms that something is known of
SELECT pseudonym FROM unnest($2::bytea[]) AS asked (pseudonym)
WHERE EXISTS (SELECT FROM actors a WHERE a.tenant_id = $1 AND a.pseudonym = asked.pseudonym)
   OR EXISTS (SELECT FROM group_members m WHERE m.tenant_id = $1 AND m.actor = asked.pseudonym)

-- ids: dense ids and shards of these pseudonyms
SELECT actor_id, shard FROM actors WHERE tenant_id = $1 AND pseudonym = ANY($2::bytea[])

-- pseudonyms: of these dense ids
SELECT actor_id, pseudonym FROM actors WHERE tenant_id = $1 AND actor_id = ANY($2::bigint[])

-- places: the groups (of $3, null: of all) that these actors are in
SELECT m.actor, m.group_id, m.manager, g.name, g.kind
FROM group_members m JOIN groups g USING (tenant_id, group_id)
WHERE m.tenant_id = $1 AND m.actor = ANY($2::bytea[]) AND ($3::text[] IS NULL OR m.group_id = ANY($3))
ORDER BY m.actor, m.group_id

-- sizes: how many are in these groups, their managers apart
SELECT group_id, count(*) FILTER (WHERE NOT manager) AS members FROM group_members
WHERE tenant_id = $1 AND group_id = ANY($2::text[]) GROUP BY group_id
