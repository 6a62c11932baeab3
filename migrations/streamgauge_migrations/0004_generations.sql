-- The number of shards can change: each number is a generation of streams, and their rows stay when nobody reads them any more.

-- Null: workers read it. The rows of a generation are retired together.
ALTER TABLE shards ADD retired_at timestamptz;
