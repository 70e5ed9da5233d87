-- Publishes a message of a running node, unless the node has passed to another holder or the run has ended.
--
-- KEYS: 1 run hash
-- ARGV: 1 entry id  2 node index  3 token  4 channel  5 message
-- Returns 1 if published, else 0
local i = ARGV[2]
local r = redis.call('HMGET', KEYS[1], 'entry', 's:' .. i, 't:' .. i)
if r[1] ~= ARGV[1] or r[2] ~= 'R' or r[3] ~= ARGV[3] then return 0 end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
