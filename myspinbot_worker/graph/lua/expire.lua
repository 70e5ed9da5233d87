-- Takes running nodes whose lease ran out from their holders. The loss of a start that kept steps costs the node nothing:
-- the next one goes on from there.
--
-- KEYS: 1 leases (zset)  2 outbox (zset)  3 over (zset)  4 counters (hash)
-- ARGV: 1 prefix of run hashes ("<namespace>:run:")  2 most lost attempts  3 lease (ms)  4 name of the caller
--       5 message check (ms)  6 most nodes a call
-- Returns for each node: "again" (ready: send a message) or "lost" (lost too often, now leased to the caller,
--         who settles it as failed), member of leases, token (of the next start, or the caller's), service, id
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[6]))) do
  local entry, i, job = string.match(member, '^([^|]*)|(%d+)|(.*)$')
  local run = ARGV[1] .. job
  local r = redis.call('HMGET', run, 'entry', 's:' .. i, 't:' .. i, 'x:' .. i, 'v:' .. i, 'd:' .. i,
    'cancelled', 'failing', 'keep', 'g:' .. i)
  if r[1] ~= entry or r[2] ~= 'R' then
    redis.call('ZREM', KEYS[1], member)
  else
    local token = tonumber(r[3]) + 1
    local what = 'again'
    local spared = r[10] == r[3]
    redis.call('HSET', run, 'u:' .. i, 1)
    if not spared and tonumber(r[4] or '0') + 1 >= tonumber(ARGV[2]) then
      what = 'lost'
      redis.call('HSET', run, 't:' .. i, token, 'l:' .. i, now + tonumber(ARGV[3]), 'k:' .. i, ARGV[4])
      redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), member)
    else
      if not spared then redis.call('HINCRBY', run, 'x:' .. i, 1) end
      redis.call('HSET', run, 's:' .. i, 'Q')
      redis.call('HDEL', run, 'l:' .. i, 'k:' .. i)
      redis.call('ZREM', KEYS[1], member)
      redis.call('HINCRBY', run, 'queued', 1)
      local running = redis.call('HINCRBY', run, 'running', -1)
      local halted = r[7] or (r[8] == '1' and r[9] == '0')
      if halted then
        what = 'halted'
        if running == 0 then
          redis.call('HSET', run, 'over', 1)
          redis.call('ZADD', KEYS[3], now, job)
        end
      else
        redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), member)
      end
    end
    redis.call('HINCRBY', KEYS[4], 'redeliveries', 1)
    for _, value in ipairs({what, member, token, r[5], r[6]}) do reply[#reply + 1] = value end
  end
end
return reply
