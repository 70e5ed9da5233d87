-- The holder of the newest token records how a node's start ended; the graph advances, and what became ready is sent.
-- Needs: send
--
-- KEYS: 1 run hash  2 payload hash  3 leases (zset)  4 outbox (zset)  5 over (zset)  6 counters (hash)
-- ARGV: 1 entry id  2 node index  3 token  4 outcome: C completed, F failed, Q to be tried again
--       5 output (C) or error (F, Q) text, "" for none   6 delay before the next try (ms), 0: now   7 job id
--       8 message check (ms)  9 progress channel  10 progress message before the number  11 and after it
--      12 what a start that did not complete costs its node: a an attempt, x a lost worker, "" nothing
--      13 worker that must leave the node to others for a while, or ""   14 how long (ms)
--      15 whether objects may be in storage that no graph will name (0|1)
--      16 namespace of Dramatiq's keys  17 whether to send before what waits (0|1)
--      18 whose result a completed node took (JSON text), or ""
-- Returns {"ok", over (0|1), then for each node that became ready: index, its next token, service, id, sent (0|1)}
--       | {"already", over} this start's result was recorded before | {"fenced"} another start is newer
--       | {"gone"} the run has ended
local run, i, outcome, job = KEYS[1], ARGV[2], ARGV[4], ARGV[7]
local r = redis.call('HMGET', run, 'entry', 's:' .. i, 't:' .. i, 'over', 'progress', 'cancelled', 'failing', 'keep',
  'g:' .. i, 'routes')
if r[1] ~= ARGV[1] then return {'gone'} end
if r[3] ~= ARGV[3] or r[2] ~= 'R' then
  if r[3] == ARGV[3] and (r[2] == 'C' or r[2] == 'F') then return {'already', tonumber(r[4])} end
  redis.call('HINCRBY', KEYS[6], 'fenced_results', 1)
  return {'fenced'}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local member = function(index) return ARGV[1] .. '|' .. index .. '|' .. job end
redis.call('ZREM', KEYS[3], member(i))
redis.call('HSET', run, 's:' .. i, outcome)
redis.call('HDEL', run, 'l:' .. i, 'k:' .. i)
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], (outcome == 'C' and 'o:' or 'e:') .. i, ARGV[5]) end
-- A lost start that kept steps costs nothing: the next one goes on from there.
local spared = ARGV[12] == 'x' and r[9] == ARGV[3]
if ARGV[12] ~= '' and not spared then
  redis.call('HINCRBY', run, ARGV[12] .. ':' .. i, 1)
end
if ARGV[12] == 'x' then redis.call('HINCRBY', KEYS[6], 'redeliveries', 1) end
if ARGV[18] ~= '' then redis.call('HSET', KEYS[2], 'm:' .. i, ARGV[18]) end
if ARGV[15] == '1' then redis.call('HSET', run, 'u:' .. i, 1) end
if ARGV[13] ~= '' then redis.call('HSET', run, 'z:' .. i, ARGV[13], 'y:' .. i, now + tonumber(ARGV[14])) end

local failing, progress, ready = r[7] == '1', tonumber(r[5]), {}
local before = progress

-- A node counts as wholly done once it is completed, failed or skipped, whatever it had reported before.
local function finish(index, weight)
  local reported = tonumber(redis.call('HGET', run, 'f:' .. index) or '0')
  progress = math.min(1, progress + weight * (1 - reported))
  redis.call('HSET', run, 'f:' .. index, 1)
end

-- plan: "ours;weight;targets;failure sources;sources", a target being its index and n or f (failure)
local function propagate()
  local pending = {{tonumber(i), outcome}}
  while #pending > 0 do
    local node = table.remove(pending)
    local index, state = node[1], node[2]
    local plan = redis.call('HGET', run, 'p:' .. index)
    local weight, targets, failed_sources = string.match(plan, '^[^;]*;([^;]*);([^;]*);([^;]*);')
    finish(index, tonumber(weight))
    if state == 'F' and tonumber(redis.call('HGET', run, 'h:' .. index) or '0') == 0 then failing = true end
    if state ~= 'C' then
      for source in string.gmatch(failed_sources, '%d+') do
        if redis.call('HINCRBY', run, 'h:' .. source, -1) == 0
            and redis.call('HGET', run, 's:' .. source) == 'F' then
          failing = true
        end
      end
    end
    for target, kind in string.gmatch(targets, '(%d+)(%a)') do
      if redis.call('HGET', run, 's:' .. target) == 'W' then
        if (kind == 'n' and state == 'C') or (kind == 'f' and state == 'F') then
          if redis.call('HINCRBY', run, 'n:' .. target, -1) == 0
              and string.sub(redis.call('HGET', run, 'p:' .. target), 1, 1) == '1' then
            redis.call('HSET', run, 's:' .. target, 'Q')
            ready[#ready + 1] = tonumber(target)
          end
        else
          redis.call('HSET', run, 's:' .. target, 'S')
          pending[#pending + 1] = {tonumber(target), 'S'}
        end
      end
    end
  end
end

if outcome == 'Q' then
  ready[1] = tonumber(i)
else
  propagate()
end
if failing then redis.call('HSET', run, 'failing', 1) end
local running = redis.call('HINCRBY', run, 'running', -1)
local queued = redis.call('HINCRBY', run, 'queued', #ready)
redis.call('HSET', run, 'progress', string.format('%.17g', progress))
local text = string.format('%.6f', progress)
if text ~= string.format('%.6f', before) then redis.call('PUBLISH', ARGV[9], ARGV[10] .. text .. ARGV[11]) end

local halted = r[6] or (failing and r[8] == '0')
local over = running == 0 and (halted or queued == 0)
local reply = {'ok', over and 1 or 0}
if over then
  redis.call('HSET', run, 'over', 1)
  redis.call('ZADD', KEYS[5], now, job)
elseif not halted then
  table.sort(ready)
  local later = outcome == 'Q' and tonumber(ARGV[6]) > 0
  local delay = later and tonumber(ARGV[6]) or tonumber(ARGV[8])
  -- Runs of older versions have none: whoever asked sends.
  local routes_text, routes = r[10] or '{}', nil
  local sending = {ARGV[1], job, now, ARGV[16], routes_text, ARGV[17]}
  for _, index in ipairs(ready) do
    redis.call('ZADD', KEYS[4], now + delay, member(index))
    if not later then
      local node = redis.call('HMGET', run, 't:' .. index, 'v:' .. index, 'd:' .. index)
      local next_token = tonumber(node[1] or '0') + 1
      sending[#sending + 1] = index
      sending[#sending + 1] = next_token
      reply[#reply + 1] = index
      reply[#reply + 1] = next_token
      reply[#reply + 1] = node[2]
      reply[#reply + 1] = node[3]
      routes = routes or cjson.decode(routes_text)
      reply[#reply + 1] = routes[node[2]] and 1 or 0
    end
  end
  if #sending > 6 then send({run}, sending) end
end
return reply
