-- The one terminal act of an admitted entry: last messages, hand-back, snapshot, acknowledgement, clean-up.
--
-- KEYS: 1 data stream  2 control stream  3 run hash  4 payload hash  5 graph string  6 open runs (hash)
--       7 over (zset)  8 outbox (zset)  9 seen (set)  10 job snapshot (hash)  11 history (stream)
--       12 cancel requests (zset)  13 litter (zset)  14 counters (hash)
-- ARGV: 1 entry id  2 consumer group  3 job id  4 verdict  5 final graph text  6 hand back (0|1)
--       7 progress channel  8 last progress message or ""  9 status channel  10 last status message or ""
--      11 job lifetime (s)  12 most history records  13 reason or ""  14 when to look at litter (ms from now)
--      15 how many members of the outbox to drop, these, then litter
-- Returns {1, ms since the job was cancelled (-1: it was not)}, or {0, -1} if the run was concluded before
local run, entry, job, graph = KEYS[3], ARGV[1], ARGV[3], ARGV[5]
local r = redis.call('HMGET', run, 'entry', 'over', 'created', 'seen', 'admitted', 'size', 'cancelled')
if r[1] ~= entry or r[2] ~= '1' then return {0, -1} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('HSET', KEYS[10], 'graph', graph, 'created', r[3])
redis.call('EXPIRE', KEYS[10], ARGV[11])
if ARGV[8] ~= '' then redis.call('PUBLISH', ARGV[7], ARGV[8]) end
if ARGV[10] ~= '' then redis.call('PUBLISH', ARGV[9], ARGV[10]) end
if ARGV[6] == '1' then
  redis.call('XADD', KEYS[2], '*', 'jobId', job, 'created', string.format('%d', now), 'graph', graph)
end
redis.call('XACK', KEYS[1], ARGV[2], entry)
redis.call('XDEL', KEYS[1], entry)
redis.call('HINCRBY', KEYS[14], 'concluded', 1)
redis.call('SADD', KEYS[9], r[4])
redis.call('EXPIRE', KEYS[9], ARGV[11])
redis.call('XADD', KEYS[11], 'MAXLEN', '~', ARGV[12], '*', 'job', job, 'entry', entry, 'verdict', ARGV[4],
  'admitted', r[5], 'nodes', r[6], 'reason', ARGV[13])

redis.call('UNLINK', run, KEYS[4], KEYS[5])
redis.call('HDEL', KEYS[6], entry)
redis.call('ZREM', KEYS[7], job)
local dropped = tonumber(ARGV[15])
for at = 16, 15 + dropped do redis.call('ZREM', KEYS[8], ARGV[at]) end
for at = 16 + dropped, #ARGV do redis.call('ZADD', KEYS[13], now + tonumber(ARGV[14]), ARGV[at]) end
-- A job that goes on elsewhere still is to be cancelled when it comes back.
if ARGV[4] ~= 'hand_back' then redis.call('ZREM', KEYS[12], job) end
return {1, r[7] and now - tonumber(r[7]) or -1}
