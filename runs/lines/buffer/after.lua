-- Read values from about the first record that follows a place.
--
-- KEYS[1] list  values, oldest first
-- ARGV    attempt, seq, number of records
--
-- Returns values from the first one with a record after the place, up to that number of records.
-- A value is "#<attempt>:<first>:<last>:<code>\n..." or "<attempt>:<seq>:...".
local function place(value)
    local attempt, first, last = string.match(value, "^#(%d+):(%d+):(%d+)[:\n]")
    if not attempt then
        attempt, first = string.match(value, "^(%d+):(%d+):")
        last = first
    end
    return tonumber(attempt) or 0, tonumber(first) or 1, tonumber(last) or 1
end
local seen_attempt, seen_seq, missing = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local low, high = 0, redis.call("LLEN", KEYS[1])
local length = high
while low < high do
    local middle = math.floor((low + high) / 2)
    local attempt, _, last = place(redis.call("LINDEX", KEYS[1], middle))
    if attempt > seen_attempt or (attempt == seen_attempt and last > seen_seq) then
        high = middle
    else
        low = middle + 1
    end
end
local values = {}
while missing > 0 and low < length do
    local value = redis.call("LINDEX", KEYS[1], low)
    local attempt, first, last = place(value)
    if attempt == seen_attempt then
        first = math.max(first, seen_seq + 1)
    end
    missing = missing - math.max(last - first + 1, 1)
    values[#values + 1] = value
    low = low + 1
end
return values
