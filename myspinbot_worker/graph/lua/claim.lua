-- A worker takes a ready node: a token, a lease, and everything it needs to run it.
--
-- KEYS: 1 run hash  2 payload hash  3 leases (zset)  4 outbox (zset)  5 counters (hash)  6 cancel requests (zset)
--       7 over (zset)
-- ARGV: 1 entry id  2 node index  3 the token this start would get  4 lease (ms)  5 worker name
--       6 member of leases and outbox  7 most lost attempts  8 status channel  9 "running" message
--      10 a name for this very call: asked again under it (the reply was lost), the same start is given again
--      11 job id
-- Returns {"ok", token, failed attempts, lost attempts, progress, weight, node id, service,
--          worker that ran out of memory on it, params, input, retries, output of each source in edge order...}
--         ("" where absent)
--       | {"gone"} | {"cancelled"} | {"halted"} | {"leased", ms left} | {"elsewhere", ms left}
--       | {"lost"} | {"finished"} | {"stale"}
local run, i = KEYS[1], ARGV[2]
local r = redis.call('HMGET', run, 'entry', 'cancelled', 'over', 'failing', 'keep', 'started', 'progress',
  's:' .. i, 't:' .. i, 'l:' .. i, 'a:' .. i, 'x:' .. i, 'p:' .. i, 'd:' .. i, 'v:' .. i, 'c:' .. i,
  'z:' .. i, 'y:' .. i, 'running', 'g:' .. i)
if r[1] ~= ARGV[1] then return {'gone'} end
local given_before = r[8] == 'R' and r[16] == ARGV[10]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not given_before and not r[2] and r[3] == '0' and redis.call('ZSCORE', KEYS[6], ARGV[11]) then
  redis.call('HSET', run, 'cancelled', now)
  if r[19] == '0' then
    redis.call('HSET', run, 'over', 1)
    redis.call('ZADD', KEYS[7], now, ARGV[11])
  end
  return {'cancelled'}
end
if r[2] and not given_before then return {'cancelled'} end
if not given_before and (r[3] == '1' or (r[4] == '1' and r[5] == '0')) then return {'halted'} end

local state, token, lost = r[8], tonumber(r[9] or '0'), tonumber(r[12] or '0')
if given_before then
  token = token - 1
elseif state == 'R' then
  local left = tonumber(r[10]) - now
  if left > 0 then return {'leased', left} end
  if r[20] ~= r[9] then
    if lost + 1 >= tonumber(ARGV[7]) then return {'lost'} end
    lost = redis.call('HINCRBY', run, 'x:' .. i, 1)
  end
  redis.call('HSET', run, 'u:' .. i, 1)
  redis.call('HINCRBY', KEYS[5], 'redeliveries', 1)
elseif state ~= 'Q' then
  return {'finished'}
elseif tonumber(ARGV[3]) ~= token + 1 then
  return {'stale'}
elseif r[17] == ARGV[5] and tonumber(r[18] or '0') > now then
  return {'elsewhere', tonumber(r[18]) - now}
else
  redis.call('HINCRBY', run, 'queued', -1)
  redis.call('HINCRBY', run, 'running', 1)
end

token = token + 1
redis.call('HSET', run, 's:' .. i, 'R', 't:' .. i, token, 'l:' .. i, now + tonumber(ARGV[4]), 'k:' .. i, ARGV[5],
  'b:' .. i, now, 'c:' .. i, ARGV[10])
redis.call('ZADD', KEYS[3], now + tonumber(ARGV[4]), ARGV[6])
redis.call('ZREM', KEYS[4], ARGV[6])
redis.call('HDEL', run, 'y:' .. i)
if not r[6] then
  redis.call('HSET', run, 'started', now)
  redis.call('PUBLISH', ARGV[8], ARGV[9])
end

-- plan: "ours;weight;targets;failure sources;sources" (store.py writes it)
local weight, sources = string.match(r[13], '^[^;]*;([^;]*);[^;]*;[^;]*;(.*)$')
local wanted = {'p:' .. i, 'i:' .. i, 'r:' .. i}
for source in string.gmatch(sources, '%d+') do wanted[#wanted + 1] = 'o:' .. source end
local reply = {'ok', token, tonumber(r[11] or '0'), lost, r[7], weight, r[14], r[15], r[17] or ''}
for first = 1, #wanted, 4000 do
  local texts = redis.call('HMGET', KEYS[2], unpack(wanted, first, math.min(first + 3999, #wanted)))
  for _, text in ipairs(texts) do reply[#reply + 1] = text or '' end
end
return reply
