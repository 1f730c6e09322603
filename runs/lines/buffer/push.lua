-- Append entries to a run's list if they follow the last one. Return the state of the list.
--
-- KEYS[1] list    entries, oldest first
-- KEYS[2] string  tail, "<attempt>:<seq>", last entry ever pushed
-- KEYS[3] set     runs with entries to flush
-- ARGV    attempt, after, last, reset (0 or 1), longest list, tail's life in ms, run id, live channel, stream, entries...
--         `after` and `last`: seq before the first entry and seq of the last one
--
-- Returns {verdict, tail, length}; verdict 1: appended, 0: does not follow, 2: list is full. 0 and 2 change nothing.
-- An older attempt than the tail's is always refused: its number is the fencing token.
-- The first write is the RPUSH, so that a Redis out of memory refuses the whole script.
local attempt, after, reset = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[4] == "1"
local tail_attempt, tail_seq = 0, 0
local tail = redis.call("GET", KEYS[2])
if tail then
    local a, s = string.match(tail, "^(%d+):(%d+)$")
    tail_attempt, tail_seq = tonumber(a), tonumber(s)
end
local length = redis.call("LLEN", KEYS[1])
if tail_attempt > attempt then
    return {0, 0, length}
end
if tail_attempt < attempt then
    tail_seq = 0
end
if tail_seq ~= after and not reset then
    return {0, tail_seq, length}
end
if length >= tonumber(ARGV[5]) then
    return {2, tail_seq, length}
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
