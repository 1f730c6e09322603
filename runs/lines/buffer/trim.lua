-- Remove stored entries from the head of a run's list, if the lock is still held and the head is unchanged.
--
-- KEYS[1] string  the flusher's lock
-- KEYS[2] list    entries, oldest first
-- ARGV    token, count, first entry, last entry
--
-- Returns 1 if trimmed, else 0 without a change.
if redis.call("GET", KEYS[1]) ~= ARGV[1] then
    return 0
end
local count = tonumber(ARGV[2])
if redis.call("LINDEX", KEYS[2], 0) ~= ARGV[3] or redis.call("LINDEX", KEYS[2], count - 1) ~= ARGV[4] then
    return 0
end
redis.call("LTRIM", KEYS[2], count, -1)
return 1
