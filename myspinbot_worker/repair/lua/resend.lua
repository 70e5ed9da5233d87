-- Puts a dead letter's entry back on the data stream, and takes the letter away: both or neither.
--
-- KEYS: 1 dead letters (stream)  2 data stream  3 handled (zset)  4 seen fingerprints of the job (set)
--       5 run hash of the job
-- ARGV: 1 letter id  2 fingerprint of the graph, "" if unknown  3 of the whole entry  4 most handled ids
--       5 a graph to send in place of its own, or ""
-- Returns {"sent", entry id, 1 if it got another "created"} | {"already", when (ms)} it was retried or dropped
--       | {"unknown"} | {"open", entry} the same graph of its job is running | {"empty"} it has no fields to send
local letter = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not letter then
  local before = redis.call('ZSCORE', KEYS[3], ARGV[1])
  if before then return {'already', before} end
  return {'unknown'}
end
local flat, own, at_created, at_graph = letter[2], {}, nil, nil
for at = 7, #flat, 2 do
  own[#own + 1] = flat[at]
  own[#own + 1] = flat[at + 1]
  if flat[at] == 'created' then at_created = #own end
  if flat[at] == 'graph' then at_graph = #own end
end
if ARGV[5] ~= '' then
  if not at_graph then
    own[#own + 1] = 'graph'
    own[#own + 1] = ''
    at_graph = #own
  end
  own[at_graph] = ARGV[5]
end
if #own == 0 then return {'empty'} end

local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local renewed = 0
if ARGV[2] ~= '' then
  local open = redis.call('HMGET', KEYS[5], 'entry', 'digest')
  if open[1] and open[2] == ARGV[2] then return {'open', open[1]} end
  if at_created and redis.call('SISMEMBER', KEYS[4], ARGV[3]) == 1 then
    own[at_created] = now
    renewed = 1
  end
end
local entry = redis.call('XADD', KEYS[2], '*', unpack(own))
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -tonumber(ARGV[4]) - 1)
return {'sent', entry, renewed}
