-- Sends a job on from where it failed, once: the snapshot that was read becomes the graph that is sent.
--
-- KEYS: 1 data stream  2 run hash of the job  3 job snapshot (hash)  4 handled (zset)  5 cancel requests (zset)
-- ARGV: 1 job id  2 graph and  3 "created" of the snapshot as it was read  4 graph to send  5 job lifetime (s)
--       6 most handled ids  7.. ids of failed nodes that are dealt with by this
-- Returns {"sent", entry id} | {"open", entry} the job has an open run | {"changed"} the snapshot is another by now
if redis.call('EXISTS', KEYS[2]) == 1 then return {'open', redis.call('HGET', KEYS[2], 'entry')} end
local snapshot = redis.call('HMGET', KEYS[3], 'graph', 'created')
if snapshot[1] ~= ARGV[2] or (snapshot[2] or '') ~= ARGV[3] then return {'changed'} end

local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local entry = redis.call('XADD', KEYS[1], '*', 'jobId', ARGV[1], 'created', now, 'graph', ARGV[4])
redis.call('HSET', KEYS[3], 'graph', ARGV[4], 'created', now)
redis.call('EXPIRE', KEYS[3], ARGV[5])
-- What was cancelled is wanted again.
redis.call('ZREM', KEYS[5], ARGV[1])
for at = 7, #ARGV do redis.call('ZADD', KEYS[4], now, ARGV[at]) end
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -tonumber(ARGV[6]) - 1)
return {'sent', entry}
