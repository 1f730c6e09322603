-- Give a lock back, if it is still one's own.
--
-- KEYS[1] string  the flusher's lock
-- ARGV    token
--
-- Returns 1 if it was.
if redis.call("GET", KEYS[1]) == ARGV[1] then
    return redis.call("DEL", KEYS[1])
end
return 0
