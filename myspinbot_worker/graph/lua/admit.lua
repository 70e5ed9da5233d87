-- Creates the run of one stream entry, once, and sends what is ready.
-- Needs: send
--
-- KEYS: 1 data stream   2 run hash   3 payload hash   4 graph string   5 open runs (hash)
--       6 outbox (zset) 7 over (zset) 8 seen (set)  9 cancel requests (zset)  10 counters (hash)
-- ARGV: 1 entry id        2 consumer group   3 job id       4 fingerprint of the graph
--       5 fingerprint of the whole entry     6 created (ms) 7 graph text
--       8 status channel  9 "queued" message 10 keep going (0|1) 11 message check (ms)
--      12 failing (0|1)  13 progress so far  14 over (0|1)
--      15 most open runs  16 namespace of Dramatiq's keys  17 queue by service (JSON)
--      18.. ten values a node: state, unsatisfied edges, failure handlers, plan, service, id,
--           params, input, output, retries ("" where absent)
-- Returns {"ok"} | {"cancelled"} as ok, but nothing starts | {"full"} too many runs are open | {"done"} the entry was handled before | {"admitted"} it is open already
--       | {"duplicate", entry} of an open or just concluded one | {"busy", entry} the job has another open run
local stream, run, payload, graph = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local entry, group, job = ARGV[1], ARGV[2], ARGV[3]

if #redis.call('XPENDING', stream, group, entry, entry, 1) == 0 then return {'done'} end
if redis.call('HEXISTS', KEYS[5], entry) == 1 then return {'admitted'} end
local open = redis.call('HMGET', run, 'entry', 'digest')
if open[1] then
  if open[2] == ARGV[4] then return {'duplicate', open[1]} end
  return {'busy', open[1]}
end
if redis.call('SISMEMBER', KEYS[8], ARGV[5]) == 1 then return {'duplicate', ''} end
if redis.call('HLEN', KEYS[5]) >= tonumber(ARGV[15]) then return {'full'} end
local cancelled = redis.call('ZSCORE', KEYS[9], job)
local over = (cancelled or ARGV[14] == '1') and '1' or '0'

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = now + tonumber(ARGV[11])

local fields, payloads, queued = {}, {}, 0
local sending = {entry, job, now, ARGV[16], ARGV[17], '0'}
local function flush(key, values)
  if #values > 0 then redis.call('HSET', key, unpack(values)) end
end
local function put(key, values, field, value)
  values[#values + 1] = field
  values[#values + 1] = value
  if #values >= 2000 then
    flush(key, values)
    return {}
  end
  return values
end

local count = (#ARGV - 17) / 10
for i = 0, count - 1 do
  local at = 17 + i * 10
  local state, need, handlers = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  fields = put(run, fields, 's:' .. i, state)
  fields = put(run, fields, 'p:' .. i, ARGV[at + 4])
  if need ~= '0' then fields = put(run, fields, 'n:' .. i, need) end
  if handlers ~= '0' then fields = put(run, fields, 'h:' .. i, handlers) end
  if ARGV[at + 5] ~= '' then
    fields = put(run, fields, 'v:' .. i, ARGV[at + 5])
    fields = put(run, fields, 'd:' .. i, ARGV[at + 6])
  end
  for offset, letter in ipairs({'p:', 'i:', 'o:', 'r:'}) do
    local text = ARGV[at + 6 + offset]
    if text ~= '' then payloads = put(payload, payloads, letter .. i, text) end
  end
  if state == 'Q' then
    queued = queued + 1
    if over == '0' then redis.call('ZADD', KEYS[6], due, entry .. '|' .. i .. '|' .. job) end
    sending[#sending + 1] = i
    sending[#sending + 1] = 1
  end
end
flush(run, fields)
flush(payload, payloads)
redis.call('HSET', run, 'entry', entry, 'digest', ARGV[4], 'seen', ARGV[5], 'created', ARGV[6], 'size', count,
  'keep', ARGV[10], 'failing', ARGV[12], 'progress', ARGV[13], 'over', over,
  'queued', queued, 'running', 0, 'admitted', now, 'routes', ARGV[17])
redis.call('SET', graph, ARGV[7])
redis.call('HSET', KEYS[5], entry, job)
redis.call('HINCRBY', KEYS[10], 'admitted', 1)
if cancelled then redis.call('HSET', run, 'cancelled', now) end
if over == '1' then
  redis.call('ZADD', KEYS[7], now, job)
elseif queued > 0 then
  redis.call('PUBLISH', ARGV[8], ARGV[9])
  send({run}, sending)
end
return {cancelled and 'cancelled' or 'ok'}
