-- Takes dead letters away for good, and failed nodes off the list of what wants attention.
--
-- KEYS: 1 dead letters (stream)  2 handled (zset)
-- ARGV: 1 most handled ids  2.. ids: a letter's is a stream id, a node's has a dot
-- Returns for each id "dropped" | "already" it was retried or dropped before | "unknown"
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local told = {}
for at = 2, #ARGV do
  local id = ARGV[at]
  if redis.call('ZSCORE', KEYS[2], id) then
    told[#told + 1] = 'already'
  elseif string.find(id, '.', 1, true) or redis.call('XDEL', KEYS[1], id) == 1 then
    redis.call('ZADD', KEYS[2], now, id)
    told[#told + 1] = 'dropped'
  else
    told[#told + 1] = 'unknown'
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[1]) - 1)
return told
