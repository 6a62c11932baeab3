-- additive
-- Scores of actors on declared boards: see streamgauge.summaries.boards.

CREATE TABLE board_scores (
    tenant_id int NOT NULL,
    board     text NOT NULL,
    timeframe text NOT NULL,
    -- When the timeframe begins where the tenant is; 1970 for all time.
    bucket    timestamptz NOT NULL,
    actor     bytea NOT NULL,
    score     bigint NOT NULL CHECK (score >= 0),
    PRIMARY KEY (tenant_id, board, timeframe, bucket, actor)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
-- The order of a board: the greater score first, then the smaller identity.
CREATE INDEX board_scores_by_score ON board_scores (tenant_id, board, timeframe, bucket, score DESC, actor);

-- How many participants have a score of which bucket of the histogram. Striped: a part may be negative, their sum is not.
CREATE TABLE board_levels (
    shard        smallint NOT NULL,
    tenant_id    int NOT NULL,
    board        text NOT NULL,
    timeframe    text NOT NULL,
    bucket       timestamptz NOT NULL,
    level        int NOT NULL,
    participants bigint NOT NULL,
    PRIMARY KEY (shard, tenant_id, board, timeframe, bucket, level)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX board_levels_by_board ON board_levels (tenant_id, board, timeframe, bucket, level);

DO $$
DECLARE name text; mine CONSTANT text := '(SELECT nullif(current_setting(''streamgauge.tenant_id'', true), '''')::int)';
BEGIN
    FOREACH name IN ARRAY ARRAY['board_scores', 'board_levels'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY all_tenants ON %I TO CURRENT_USER, streamgauge_platform USING (true) WITH CHECK (true)', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I TO streamgauge_api USING (tenant_id = %s) WITH CHECK (tenant_id = %2$s)', name, mine);
    END LOOP;
END
$$;
GRANT SELECT ON board_scores, board_levels TO streamgauge_api;
