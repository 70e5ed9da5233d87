-- Marks a run cancelled: nothing new starts, running nodes learn of it when they renew. A job without an open run
-- is noted, for its next visit.
--
-- KEYS: 1 run hash  2 over (zset)  3 cancel requests (zset)
-- ARGV: 1 job id  2 note the request of a job without an open run (0|1)
-- Returns {"ok", running nodes} | {"gone"} there is no open run
local run, job = KEYS[1], ARGV[1]
local r = redis.call('HMGET', run, 'running', 'over')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not r[1] then
  if ARGV[2] == '1' then redis.call('ZADD', KEYS[3], 'NX', now, job) end
  return {'gone'}
end
if r[2] == '0' then
  redis.call('HSETNX', run, 'cancelled', now)
  if r[1] == '0' then
    redis.call('HSET', run, 'over', 1)
    redis.call('ZADD', KEYS[2], now, job)
  end
end
return {'ok', tonumber(r[1])}
