-- The farm's books: every entry ever added is unread, pending, or ended in one terminal act.
--
-- KEYS: 1 data stream  2 open runs (hash)  3 counters (hash)
-- ARGV: 1 consumer group  2 "look", "begin" (open the books unless they are open) or "anew" (balance them now)
-- Returns {added, dealt with before the books were opened, unread, pending, open runs, admitted, concluded,
--          rejected}; the first two are "" where unknown. {} if the books are to be opened and are open
local stream, runs, counters = KEYS[1], KEYS[2], KEYS[3]
if ARGV[2] == 'begin' and redis.call('HEXISTS', counters, 'entries_before') == 1 then return {} end

local function fields(flat)
  local found = {}
  for at = 1, #flat, 2 do found[flat[at]] = flat[at + 1] end
  return found
end

local added, pending, unread, last, lag = 0, 0, 0, '0-0', nil
if redis.call('TYPE', stream)['ok'] == 'stream' then
  added = fields(redis.call('XINFO', 'STREAM', stream))['entries-added'] or ''
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = fields(flat)
    if group['name'] == ARGV[1] then
      pending, last, lag = group['pending'], group['last-delivered-id'], group['lag']
    end
  end
  -- Redis' own lag is no number, or a wrong one, after deletions: only a long backlog is left to it.
  while true do
    local page = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 100)
    unread = unread + #page
    if #page < 100 then break end
    last = page[#page][1]
    if unread >= 1000 and lag then
      unread = lag
      break
    end
  end
end

local open = redis.call('HLEN', runs)
local c = redis.call('HMGET', counters, 'admitted', 'concluded', 'rejected', 'entries_before')
local admitted, concluded, rejected = tonumber(c[1] or '0'), tonumber(c[2] or '0'), tonumber(c[3] or '0')
local before = c[4] or ''
if added ~= '' and ARGV[2] ~= 'look' then
  admitted = open + concluded
  before = added - unread - pending - concluded - rejected
  redis.call('HSET', counters, 'admitted', admitted, 'entries_before', before)
end
return {added, before, unread, pending, open, admitted, concluded, rejected}
