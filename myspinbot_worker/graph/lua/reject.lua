-- The one terminal act of an entry that cannot be admitted: dead letter, status, acknowledgement.
--
-- KEYS: 1 data stream  2 dead letters (stream)  3 run hash of the entry's job (or of none)  4 counters (hash)
-- ARGV: 1 entry id  2 consumer group  3 code  4 reason  5 status channel  6 "failed" message or ""
--       7 most dead letters  8.. the entry's own fields, name and value in turn
-- Returns 1, or 0 if the entry was handled before
local entry = ARGV[1]
if #redis.call('XPENDING', KEYS[1], ARGV[2], entry, entry, 1) == 0 then return 0 end
local fields = {}
for at = 8, #ARGV do fields[#fields + 1] = ARGV[at] end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], '*', 'entry', entry, 'code', ARGV[3], 'reason', ARGV[4],
  unpack(fields))
-- A job with an open run is alive, whatever a stray entry in its name says.
if ARGV[6] ~= '' and redis.call('EXISTS', KEYS[3]) == 0 then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
redis.call('XACK', KEYS[1], ARGV[2], entry)
redis.call('XDEL', KEYS[1], entry)
redis.call('HINCRBY', KEYS[4], 'rejected', 1)
return 1
