-- Times of node classes flow into the decaying averages of earlier runs.
--
-- KEYS: 1 times (hash: class -> seconds)
-- ARGV: 1 share of a new time in the average (0..1)  2 most classes  3.. class, seconds, class, seconds, ...
-- Returns how many were taken; a new class is left out where there are too many already.
local share, most, taken = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
for at = 3, #ARGV, 2 do
  local class, seconds = ARGV[at], tonumber(ARGV[at + 1])
  local before = tonumber(redis.call('HGET', KEYS[1], class) or '')
  if before or redis.call('HLEN', KEYS[1]) < most then
    local average = before and before + share * (seconds - before) or seconds
    redis.call('HSET', KEYS[1], class, string.format('%.6g', average))
    taken = taken + 1
  end
end
return taken
