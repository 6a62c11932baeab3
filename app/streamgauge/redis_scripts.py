"""What only the server can do at one moment, as scripts. All keys of one are in one slot, and so it runs on any node that serves it."""

# A script without a header line may read, and trim, while the server is out of memory.
_HISTORY = """
local info = redis.call('INFO', 'server') .. redis.call('INFO', 'replication')
local function history(key)
  local run = string.match(info, 'run_id:(%w+)') .. '.' .. (string.match(info, 'master_replid:(%w+)') or '')
  local mark = false
  if redis.call('EXISTS', key) == 1 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      local name = group[2]
      if string.sub(name, 1, 10) == 'birthmark:' and (not mark or name < mark) then mark = name end
    end
  end
  return run, mark
end
"""
#: The history of a stream as it is: (run id, birthmark or nil).
TELL_HISTORY = _HISTORY + "local run, mark = history(KEYS[1]) return {run, mark}"
#: The same; a stream or a birthmark that is missing is made, with the name in ARGV[1].
READ_HISTORY = (
    _HISTORY
    + """
local run, mark = history(KEYS[1])
if not mark then
  mark = ARGV[1]
  redis.call('XGROUP', 'CREATE', KEYS[1], mark, '0', 'MKSTREAM')
end
return {run, mark}
"""
)
# Whole nodes first, a limited number at a time; what is left in front of the position is less than one node.
#: Of the history ARGV[1], ARGV[2]: removes what is in front of ARGV[3], about ARGV[4] entries at a time: (removed, whether to call again).
TRIM = (
    _HISTORY
    + """
local run, mark = history(KEYS[1])
if run ~= ARGV[1] or mark ~= ARGV[2] then return false end
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[3], 'LIMIT', ARGV[4])
if removed > 0 then return {removed, 1} end
return {redis.call('XTRIM', KEYS[1], 'MINID', ARGV[3]), 0}
"""
)
# A script, so that all of it is of one moment, and no payload of the edges crosses the wire.
#: What is behind ARGV[1]: (added, retained, first id, id of the oldest behind it, now).
BACKLOG = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0, '', '', now} end
local info, added = redis.call('XINFO', 'STREAM', KEYS[1]), 0
for place = 1, #info, 2 do
  if info[place] == 'entries-added' then added = info[place + 1] end
end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local oldest = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', 1)
return {added, redis.call('XLEN', KEYS[1]), first[1] and first[1][1] or '', oldest[1] and oldest[1][1] or '', now}
"""
# An entry that comes between a look and a deletion would be lost.
#: Deletes KEYS[1] and KEYS[2], which is beside it: 0 when there are entries from ARGV[1] on, 1 when it did; + deletes in any case.
REMOVE = """
if ARGV[1] ~= '+' and #redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1) > 0 then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
"""
