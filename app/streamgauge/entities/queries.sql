-- Rows of tallies and boards, stripes merged. $5: actors, null for everybody; $6: the first part of the key, null for any.

-- states: rows of one tally as they are
SELECT tenant_id, tally, extract(epoch FROM bucket)::bigint AS bucket, actor, parts, count, sums, greatest, first_at, first_id, last_at, last_id,
       said::text AS said
FROM tally_rows
WHERE tenant_id = $1 AND tally = $2 AND bucket >= to_timestamp($3::bigint) AND bucket < to_timestamp($4::bigint)
  AND ($5::bytea[] IS NULL OR actor = ANY($5)) AND ($6::text IS NULL OR (md5(parts[1]) = md5($6) AND parts[1] = $6))
LIMIT $7

-- totals: rows of one tally added up; $7: by bucket, $8: by actor, $9: by these parts
SELECT CASE WHEN $7 THEN extract(epoch FROM bucket)::bigint END AS bucket, CASE WHEN $8 THEN actor END AS actor,
       ARRAY(SELECT parts[place] FROM unnest($9::int[]) AS chosen (place)) AS parts,
       sum(count)::bigint AS count, count(DISTINCT actor) AS actors, count(DISTINCT digest) AS entities,
       ARRAY[sum(sums[1]), sum(sums[2]), sum(sums[3]), sum(sums[4])] AS sums, min(first_at) AS first_at, max(last_at) AS last_at
FROM tally_rows
WHERE tenant_id = $1 AND tally = $2 AND bucket >= to_timestamp($3::bigint) AND bucket < to_timestamp($4::bigint)
  AND ($5::bytea[] IS NULL OR actor = ANY($5)) AND ($6::text IS NULL OR (md5(parts[1]) = md5($6) AND parts[1] = $6))
GROUP BY 1, 2, 3
LIMIT $10

-- sayings: what entities' last events said of a number, added up; $7: by actor, $8: by these parts, $9: the property, $10: from where on it is counted as reached
SELECT CASE WHEN $7 THEN actor END AS actor, ARRAY(SELECT parts[place] FROM unnest($8::int[]) AS chosen (place)) AS parts,
       count(*) AS entities, count(DISTINCT actor) AS actors, sum(value) AS sum, count(*) FILTER (WHERE value >= $10) AS reached
FROM (
    -- An entity has rows in several stripes where the number of shards was changed: the last event of all decides.
    SELECT DISTINCT ON (digest) actor, parts, (said ->> $9)::bigint AS value
    FROM tally_rows
    WHERE tenant_id = $1 AND tally = $2 AND bucket >= to_timestamp($3::bigint) AND bucket < to_timestamp($4::bigint)
      AND ($5::bytea[] IS NULL OR actor = ANY($5)) AND ($6::text IS NULL OR (md5(parts[1]) = md5($6) AND parts[1] = $6))
    ORDER BY digest, last_at DESC, last_id DESC
) latest
WHERE value IS NOT NULL
GROUP BY 1, 2
LIMIT $11

-- best: the first of a board's order; $5: among these actors, null for everybody
SELECT actor, score FROM board_scores
WHERE tenant_id = $1 AND board = $2 AND timeframe = $3 AND bucket = to_timestamp($4::bigint) AND ($5::bytea[] IS NULL OR actor = ANY($5))
ORDER BY score DESC, actor LIMIT $6

-- score: an actor's
SELECT score FROM board_scores
WHERE tenant_id = $1 AND board = $2 AND timeframe = $3 AND bucket = to_timestamp($4::bigint) AND actor = $5

-- levels: how many participants have a score of which bucket of the histogram
SELECT level, sum(participants)::bigint AS participants FROM board_levels
WHERE tenant_id = $1 AND board = $2 AND timeframe = $3 AND bucket = to_timestamp($4::bigint)
GROUP BY level HAVING sum(participants) <> 0

-- ahead: how many are before an actor ($6 with score $5) whose scores are at most $7
SELECT (SELECT count(*) FROM board_scores WHERE tenant_id = $1 AND board = $2 AND timeframe = $3 AND bucket = to_timestamp($4::bigint) AND score > $5 AND score <= $7)
     + (SELECT count(*) FROM board_scores WHERE tenant_id = $1 AND board = $2 AND timeframe = $3 AND bucket = to_timestamp($4::bigint) AND score = $5 AND actor < $6)

-- above: the nearest before an actor ($6 with score $5), the nearest first; in two parts, so that each is a stretch of the index
(SELECT actor, score FROM board_scores WHERE tenant_id = $1 AND board = $2 AND timeframe = $3 AND bucket = to_timestamp($4::bigint) AND score = $5 AND actor < $6 ORDER BY actor DESC LIMIT $7)
UNION ALL
(SELECT actor, score FROM board_scores WHERE tenant_id = $1 AND board = $2 AND timeframe = $3 AND bucket = to_timestamp($4::bigint) AND score > $5 ORDER BY score, actor DESC LIMIT $7)
ORDER BY score, actor DESC LIMIT $7

-- below: the nearest behind an actor, the nearest first
(SELECT actor, score FROM board_scores WHERE tenant_id = $1 AND board = $2 AND timeframe = $3 AND bucket = to_timestamp($4::bigint) AND score = $5 AND actor > $6 ORDER BY actor LIMIT $7)
UNION ALL
(SELECT actor, score FROM board_scores WHERE tenant_id = $1 AND board = $2 AND timeframe = $3 AND bucket = to_timestamp($4::bigint) AND score < $5 ORDER BY score DESC, actor LIMIT $7)
ORDER BY score DESC, actor LIMIT $7
