-- Dead letters that can be looked at, replayed and discarded; shards that stop before they refuse nearly everything.

ALTER TABLE dead_letters
    ADD state        text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replayed', 'discarded')),
    -- How many bytes were refused, where fewer than that are kept in `raw`; null: all of them.
    ADD cut_from     int,
    -- Which lane a replay takes, from when it is asked for: a worker trusts it, and sets the letter's state in the transaction
    -- that applies it.
    ADD replay_lane  bytea CHECK (length(replay_lane) = 16),
    ADD requested_at timestamptz,
    ADD requested_by text,
    -- When and by whom it was discarded; when it was replayed.
    ADD decided_at   timestamptz,
    ADD decided_by   text;

-- An event is kept in `raw`, as a frame of its own, to the bit; `event` is what older versions kept of it.
COMMENT ON COLUMN dead_letters.event IS 'kept by versions before 0005 instead of raw';

CREATE UNIQUE INDEX dead_letters_by_replay ON dead_letters (replay_lane) WHERE replay_lane IS NOT NULL;
CREATE INDEX dead_letters_by_tenant ON dead_letters (tenant_id, dead_letter_id);

GRANT SELECT ON dead_letters TO streamgauge_api;
-- Its content may be removed, and what becomes of it written down; which events it stands for, and why, stays as it is.
GRANT UPDATE (state, detail, event, raw, replay_lane, requested_at, requested_by, decided_at, decided_by)
    ON dead_letters TO streamgauge_api, streamgauge_platform;

-- A shard that stopped because too large a share of its events was refused. It stays so, whoever works and however often it is
-- started, until somebody allows it or sets another limit.
CREATE TABLE shard_stops (
    shard         smallint PRIMARY KEY REFERENCES shards,
    stopped_at    timestamptz NOT NULL DEFAULT now(),
    -- The limit that was passed, and what it was passed with: events of the window, the batch that did not commit included.
    percent       int NOT NULL,
    processed     bigint NOT NULL,
    refused       bigint NOT NULL,
    reasons       jsonb NOT NULL DEFAULT '{}',
    allowed_until timestamptz,
    allowed_by    text
);
GRANT SELECT ON shard_stops TO streamgauge_platform;

-- Rejected events are kept from now on. Where some were only counted before, `verify` asks for those of the hours from this one on.
INSERT INTO installation (name, value)
SELECT 'rejected_kept_from', (date_trunc('hour', now(), 'UTC') + interval '1 hour')::text
WHERE EXISTS (SELECT FROM outcome_ledger WHERE outcome = 'rejected');
