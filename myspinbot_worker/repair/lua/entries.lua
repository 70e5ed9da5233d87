-- Ids and jobs of a stream's entries, without the documents they carry.
--
-- KEYS: 1 stream
-- ARGV: 1 first id, "-" or "(id"  2 last id or "+"  3 most entries
-- Returns for each entry {id, job id or ""}
local found = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])) do
  local job = ''
  for at = 1, #entry[2], 2 do
    if entry[2][at] == 'jobId' then job = entry[2][at + 1] end
  end
  found[#found + 1] = {entry[1], job}
end
return found
