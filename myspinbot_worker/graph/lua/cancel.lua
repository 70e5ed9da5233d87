-- Marks a run cancelled: nothing new starts, running nodes learn of it when they renew.
--
-- KEYS: 1 run hash  2 over (zset)
-- ARGV: 1 job id
-- Returns {"ok", running nodes} | {"gone"} there is no open run
local run = KEYS[1]
local r = redis.call('HMGET', run, 'running', 'over')
if not r[1] then return {'gone'} end
if r[2] == '0' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSETNX', run, 'cancelled', now)
  if r[1] == '0' then
    redis.call('HSET', run, 'over', 1)
    redis.call('ZADD', KEYS[2], now, ARGV[1])
  end
end
return {'ok', tonumber(r[1])}
