-- The holder of a running node extends its lease and, optionally, reports its fraction.
--
-- KEYS: 1 run hash  2 leases (zset)  3 cancel requests (zset)
-- ARGV: 1 entry id  2 node index  3 token  4 lease (ms)  5 member of leases  6 fraction 0..1 or ""
--       7 progress channel  8 progress message before the number  9 and after it
--      10 job id  11 whether this start kept a step that was not there before (0|1)
-- Returns "ok" | "cancelled" (renewed all the same: the holder still has to clean up) | "lost"
local run, i = KEYS[1], ARGV[2]
local r = redis.call('HMGET', run, 'entry', 's:' .. i, 't:' .. i, 'cancelled', 'f:' .. i, 'p:' .. i, 'progress')
if r[1] ~= ARGV[1] or r[2] ~= 'R' or r[3] ~= ARGV[3] then return 'lost' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = now + tonumber(ARGV[4])
redis.call('HSET', run, 'l:' .. i, deadline)
redis.call('ZADD', KEYS[2], deadline, ARGV[5])
if ARGV[11] == '1' then redis.call('HSET', run, 'g:' .. i, ARGV[3]) end

if ARGV[6] ~= '' then
  -- Only what exceeds the largest fraction of any attempt counts: a second attempt cannot pull progress down.
  local gained = tonumber(ARGV[6]) - tonumber(r[5] or '0')
  if gained > 0 then
    local weight = tonumber(string.match(r[6], '^[^;]*;([^;]*)'))
    local before = tonumber(r[7])
    local after = math.min(1, before + weight * gained)
    redis.call('HSET', run, 'f:' .. i, ARGV[6], 'progress', string.format('%.17g', after))
    local text = string.format('%.6f', after)
    if text ~= string.format('%.6f', before) then
      redis.call('PUBLISH', ARGV[7], ARGV[8] .. text .. ARGV[9])
    end
  end
end
if r[4] then return 'cancelled' end
if redis.call('ZSCORE', KEYS[3], ARGV[10]) then
  redis.call('HSET', run, 'cancelled', now)
  return 'cancelled'
end
return 'ok'
