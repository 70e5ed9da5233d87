-- Removes a consumer that has nothing pending (removing one that has would forget its entries).
--
-- KEYS: 1 data stream
-- ARGV: 1 consumer group  2 consumer name
-- Returns 1 if removed, else 0
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
