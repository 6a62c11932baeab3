-- The generic cell rate algorithm; see rate.py. One key, so that it runs on any node of a cluster.
-- KEYS[1]: a bucket. ARGV: microseconds per request, requests at once, requests taken (0: only look).
-- Answers {1 or 0: allowed, requests left, microseconds until there is one more}.
local time = redis.call('TIME')
-- Counted from 2023-11-14, since a double holds microseconds from 1970 in steps of a quarter.
local now = (time[1] - 1700000000) * 1000000 + time[2]
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local most, slack = interval * burst, interval / 100
-- A clock that went back, or a limit that was lowered, makes nobody wait for longer than a full bucket does.
local owed = math.min(math.max((tonumber(redis.call('GET', KEYS[1])) or now) - now, 0), most)
local allowed = owed + interval * math.max(cost, 1) <= most + slack
if allowed and cost > 0 then
  owed = owed + interval * cost
  -- Once nothing is owed, a missing key says the same.
  redis.call('SET', KEYS[1], string.format('%.3f', now + owed), 'PX', math.ceil(owed / 1000))
end
local left = math.max(math.floor((most - owed + slack) / interval), 0)
local wait = left < burst and owed - (burst - left - 1) * interval or 0
return {allowed and 1 or 0, left, math.ceil(math.max(wait, 0))}
