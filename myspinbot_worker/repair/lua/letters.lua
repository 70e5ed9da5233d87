-- Dead letters, newest first, without the documents they carry unless they are asked for.
--
-- KEYS: 1 dead letters (stream)
-- ARGV: 1 newest id, "+" or "(id"  2 oldest id or "-"  3 most letters  4 "short" or "whole"
-- Returns for each letter {id, entry, code, reason, job id or ""}, and, if whole, the entry's own fields, name and
-- value in turn. The farm's own three come first, whatever the entry's fields are called.
local found = {}
for _, letter in ipairs(redis.call('XREVRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])) do
  local flat, own, job = letter[2], {}, ''
  for at = 7, #flat, 2 do
    if flat[at] == 'jobId' then job = flat[at + 1] end
    if ARGV[4] == 'whole' then
      own[#own + 1] = flat[at]
      own[#own + 1] = flat[at + 1]
    end
  end
  found[#found + 1] = {letter[1], flat[2], flat[4], flat[6], job, own}
end
return found
