-- A worker records how a start ended, acknowledges its message and takes its next one, in one step.
-- Needs: settle, take
--
-- KEYS: 1 to 6 those of settle.lua, then those of take.lua
-- ARGV: 1 number of arguments of settle.lua, these, then those of take.lua
-- Returns {reply of settle.lua, reply of take.lua}. Whoever lost its node has to clean up: then nothing is taken, only
--         acknowledged.
local count = tonumber(ARGV[1])
local settled = settle({unpack(KEYS, 1, 6)}, {unpack(ARGV, 2, 1 + count)})
local taking = {unpack(ARGV, 2 + count)}
if settled[1] == 'gone' or settled[1] == 'fenced' then taking[4] = '0' end
return {settled, take({unpack(KEYS, 7)}, taking)}
