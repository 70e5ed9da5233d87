-- A worker takes its next message off a queue, as Dramatiq's own script does, and claims the message's node with it.
-- Needs: claim, pick
--
-- KEYS: 1 queue (list)  2 its messages (hash)  3 what this process has in hand of it (set)  4 heartbeats (zset)
--       5 paused queues (set)  6.. what claim.lua names, but for the run and the payload: 6 leases  7 outbox
--       8 counters  9 cancel requests  10 over  11 the head that was passed over (pick.lua)
-- ARGV: 1 queue  2 process  3 message to acknowledge, or ""  4 whether to take another (0|1)
--       5 prefix of run hashes  6 lease (ms)  7 worker name  8 most lost attempts  9 base of status channels
--      10 "running" message before the job id and  11 after it
--      12 service the worker has loaded, or ""  13 how far to look for it  14 how long a head may wait for that (ms)
--      15 whether this is asked again because the reply was lost (0|1)  16.. messages in hand
-- Returns {} if there is none | {message} whose node could not be looked at | {message, its node, reply of claim.lua}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[4], now, ARGV[2])
if ARGV[3] ~= '' and redis.call('SREM', KEYS[3], ARGV[3]) == 1 then redis.call('HDEL', KEYS[2], ARGV[3]) end

local id, message
if ARGV[15] == '1' then
  local held = {}
  for at = 16, #ARGV do held[ARGV[at]] = true end
  for _, member in ipairs(redis.call('SMEMBERS', KEYS[3])) do
    local text = not held[member] and redis.call('HGET', KEYS[2], member)
    if text then id, message = member, text end
  end
end
if not message and (ARGV[4] == '0' or redis.call('SISMEMBER', KEYS[5], ARGV[1]) == 1) then return {} end
while not message do
  id = pick({KEYS[1], KEYS[2], KEYS[11]}, {ARGV[12], ARGV[13], ARGV[14], now})
  if not id then return {} end
  message = redis.call('HGET', KEYS[2], id)
  -- An id that was queued twice: done, or in hand.
  if message and redis.call('SADD', KEYS[3], id) == 0 then message = nil end
end

local known, fields = pcall(cjson.decode, message)
local args = known and type(fields) == 'table' and fields['args']
if type(args) ~= 'table' or type(args[1]) ~= 'string' or type(args[2]) ~= 'number' then return {message} end
local entry, i, job = string.match(args[1], '^([^|]*)|(%d+)|(.*)$')
if not entry then return {message} end
local run = ARGV[5] .. job
return {message, args[1], claim(
  {run, run .. ':payload', KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]},
  {entry, i, args[2], ARGV[6], ARGV[7], args[1], ARGV[8], ARGV[9] .. ':' .. job,
    ARGV[10] .. cjson.encode(job) .. ARGV[11],
    -- Whoever of this process asks again is meant: what it has in hand is never taken twice.
    ARGV[2] .. '|' .. id, job}
)}
