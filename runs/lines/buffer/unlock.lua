-- Release a lock, if this token still holds it.
--
-- KEYS[1] string  the flusher's lock
-- ARGV    token
--
-- Returns 1 if it did.
if redis.call("GET", KEYS[1]) == ARGV[1] then
    return redis.call("DEL", KEYS[1])
end
return 0
