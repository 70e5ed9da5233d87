-- Puts the messages of ready nodes into their queues, as Dramatiq's own script does; not called by itself.
--
-- KEYS: 1 run hash
-- ARGV: 1 entry id  2 job id  3 now (ms)  4 namespace of Dramatiq's keys  5 queue by service (JSON)
--       6 before what waits (0|1)  7.. index and token of each node
-- A node whose service has no queue is left to the caller. Ids and arguments are those of dispatcher.node_message.
local entry, job, first = ARGV[1], cjson.encode(ARGV[2]), ARGV[6] == '1'
local routes = cjson.decode(ARGV[5])
local ids, texts = {}, {}
for at = 7, #ARGV, 2 do
  local i, token = ARGV[at], ARGV[at + 1]
  local node = redis.call('HMGET', KEYS[1], 'v:' .. i, 'd:' .. i)
  local queue = node[1] and routes[node[1]]
  if queue then
    local id = entry .. '|' .. i .. '|' .. token
    if not ids[queue] then ids[queue], texts[queue] = {}, {} end
    ids[queue][#ids[queue] + 1] = id
    texts[queue][#texts[queue] + 1] = id
    -- Only names and ids go through cjson, and only into it.
    texts[queue][#texts[queue] + 1] = '{"queue_name":"' .. queue .. '","actor_name":' .. cjson.encode(node[1])
      .. ',"args":[' .. cjson.encode(entry .. '|' .. i .. '|' .. ARGV[2]) .. ',' .. token .. ','
      .. cjson.encode(node[2]) .. '],"kwargs":{},"options":{"redis_message_id":"' .. id
      .. '"},"message_id":"' .. id .. '","message_timestamp":' .. string.format('%d', ARGV[3]) .. '}'
  end
end
for queue, waiting in pairs(ids) do
  local list = ARGV[4] .. ':' .. queue
  for at = 1, #waiting, 2000 do
    local last = math.min(at + 1999, #waiting)
    redis.call('HSET', list .. '.msgs', unpack(texts[queue], 2 * at - 1, 2 * last))
    redis.call(first and 'LPUSH' or 'RPUSH', list, unpack(waiting, at, last))
  end
end
