-- Finds the cancel requests that can be fulfilled now, and drops those that met no run for too long.
--
-- KEYS: 1 cancel requests (zset)
-- ARGV: 1 prefix of run hashes  2 longest life of a request (ms)  3 most jobs a call
-- Returns the job ids that have an open run
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(0', '(' .. now - tonumber(ARGV[2]))
local found = {}
for _, job in ipairs(redis.call('ZRANGE', KEYS[1], 0, 9999)) do
  -- Other programs need not know Redis' time.
  if tonumber(redis.call('ZSCORE', KEYS[1], job)) <= 0 then redis.call('ZADD', KEYS[1], now, job) end
  local r = redis.call('HMGET', ARGV[1] .. job, 'entry', 'cancelled')
  if r[1] and not r[2] and #found < tonumber(ARGV[3]) then found[#found + 1] = job end
end
return found
