-- Ready nodes whose message should be looked for: each is handed out to one caller a check interval.
--
-- KEYS: 1 outbox (zset)
-- ARGV: 1 prefix of run hashes  2 next check (ms)  3 most nodes a call
-- Returns for each node: member of outbox, token of its next start, service, id
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[3]))) do
  local entry, i, job = string.match(member, '^([^|]*)|(%d+)|(.*)$')
  local r = redis.call('HMGET', ARGV[1] .. job, 'entry', 's:' .. i, 't:' .. i, 'v:' .. i, 'd:' .. i)
  if r[1] == entry and r[2] == 'Q' then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), member)
    for _, value in ipairs({member, tonumber(r[3] or '0') + 1, r[4], r[5]}) do reply[#reply + 1] = value end
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
return reply
