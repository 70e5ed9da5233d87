-- The next message leaves its queue: the head, or the first for which the worker has its model loaded
-- (affinity.py is the specification).
--
-- KEYS: 1 queue (list of message ids)  2 its messages (hash: id -> JSON)
--       3 the head that was passed over (hash: id, times, since (Redis ms)); gone when fewer than two messages wait
-- ARGV: 1 service that is loaded, or ""  2 how many messages to look at, and how often a head may be passed over
--       3 for how long (ms)  4 now (Redis ms)
-- Returns the message's id, false if none waits
local window = ARGV[1] ~= '' and tonumber(ARGV[2]) or 0
if window < 2 then return redis.call('LPOP', KEYS[1]) end
local ids = redis.call('LRANGE', KEYS[1], 0, window - 1)
if #ids < 2 then
  redis.call('DEL', KEYS[3])
  return redis.call('LPOP', KEYS[1])
end
local now, times, since = tonumber(ARGV[4]), 0, tonumber(ARGV[4])
local passed = redis.call('HMGET', KEYS[3], 'id', 'times', 'since')
if passed[1] == ids[1] then times, since = tonumber(passed[2]), tonumber(passed[3]) end
if times >= window or now - since >= tonumber(ARGV[3]) then return redis.call('LPOP', KEYS[1]) end
for place, id in ipairs(ids) do
  local text = redis.call('HGET', KEYS[2], id)
  local known, message = pcall(cjson.decode, text or '')
  if known and type(message) == 'table' and message['actor_name'] == ARGV[1] then
    if place == 1 then break end
    redis.call('LREM', KEYS[1], 1, id)
    redis.call('HSET', KEYS[3], 'id', ids[1], 'times', times + 1, 'since', since)
    -- Workers that look no further than the head may take the last of the queue and leave this; no task lasts a day.
    redis.call('EXPIRE', KEYS[3], 86400)
    return id
  end
end
return redis.call('LPOP', KEYS[1])
