-- Append entries to a run's list if they follow the last one, and say where the list stands.
--
-- KEYS[1] list    entries, oldest first
-- KEYS[2] string  tail, "<attempt>:<seq>", last entry ever pushed
-- KEYS[3] set     runs with entries to flush
-- ARGV    attempt, after, last, reset (0 or 1), longest list, tail's life in ms, run id, live channel, stream, entries...
--         `after` and `last`: seq before the first entry and seq of the last one
--
-- Returns {verdict, tail, length}; verdict 1: appended, 0: does not follow, 2: list is full. Nothing is changed by 0 and 2.
-- An older attempt than the tail's is never let in: its number is the fencing token.
-- The first write is the RPUSH, so that a Redis out of memory refuses the whole script.
local attempt, after, reset = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[4] == "1"
local seen_attempt, seen = 0, 0
local tail = redis.call("GET", KEYS[2])
if tail then
    local a, s = string.match(tail, "^(%d+):(%d+)$")
    seen_attempt, seen = tonumber(a), tonumber(s)
end
local length = redis.call("LLEN", KEYS[1])
if seen_attempt > attempt then
    return {0, 0, length}
end
if seen_attempt < attempt then
    seen = 0
end
if seen ~= after and not reset then
    return {0, seen, length}
end
if length >= tonumber(ARGV[5]) then
    return {2, seen, length}
end
local first = 10
while first <= #ARGV do
    local last = math.min(first + 999, #ARGV)
    length = redis.call("RPUSH", KEYS[1], unpack(ARGV, first, last))
    first = last + 1
end
local now = ARGV[1] .. ":" .. ARGV[3]
redis.call("SET", KEYS[2], now, "PX", ARGV[6])
redis.call("SADD", KEYS[3], ARGV[7])
redis.call("PUBLISH", ARGV[8], ARGV[9] .. ":" .. now)
return {1, tonumber(ARGV[3]), length}
