-- Append entries to a run's list if they follow the last one. Return the state of the list.
--
-- KEYS[1] list    values, oldest first, see runs.lines.blocks
-- KEYS[2] string  tail, "<attempt>:<seq>", last entry ever pushed
-- KEYS[3] set     runs with entries to flush
-- KEYS[4] string  exists for a moment after a push was announced
-- ARGV    attempt, after, last, reset (0 or 1), longest list, tail's life in ms, run id, live channel, stream,
--         shortest time between two announcements in ms, values...
--         `after` and `last`: seq before the first record and seq of the last one
--
-- Returns {verdict, tail, length}; verdict 1: appended, 0: does not follow, 2: list is full. 0 and 2 change nothing.
-- The length is the number of records of the newest attempt.
-- An older attempt than the tail's is always refused: its number is the fencing token.
-- The first write is the RPUSH, so that a Redis out of memory refuses the whole script.
local attempt, after, reset = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[4] == "1"
local tail_attempt, tail_seq = 0, 0
local tail = redis.call("GET", KEYS[2])
if tail then
    local a, s = string.match(tail, "^(%d+):(%d+)$")
    tail_attempt, tail_seq = tonumber(a) or 0, tonumber(s) or 0
end
-- Records of the tail's attempt from the head to `last`. If the head is of an earlier one, none of them was trimmed.
local function length(last)
    local head = redis.call("LINDEX", KEYS[1], 0)
    if not head then
        return 0
    end
    local a, first = string.match(head, "^#?(%d+):(%d+):")
    return tonumber(a) == attempt and last - tonumber(first) + 1 or last
end
if tail_attempt > attempt then
    return {0, 0, redis.call("LLEN", KEYS[1])}
end
if tail_attempt < attempt then
    tail_seq = 0
end
if tail_seq ~= after and not reset then
    return {0, tail_seq, length(tail_seq)}
end
if length(tail_seq) >= tonumber(ARGV[5]) then
    return {2, tail_seq, length(tail_seq)}
end
local first = 11
while first <= #ARGV do
    local last = math.min(first + 999, #ARGV)
    redis.call("RPUSH", KEYS[1], unpack(ARGV, first, last))
    first = last + 1
end
local now = ARGV[1] .. ":" .. ARGV[3]
redis.call("SET", KEYS[2], now, "PX", ARGV[6])
redis.call("SADD", KEYS[3], ARGV[7])
if redis.call("SET", KEYS[4], 1, "PX", ARGV[10], "NX") then
    redis.call("PUBLISH", ARGV[8], ARGV[9] .. ":" .. now)
end
return {1, tonumber(ARGV[3]), length(tonumber(ARGV[3]))}
