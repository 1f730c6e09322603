-- Remove a run from the set of runs with entries to flush, if both its lists are empty.
--
-- KEYS[1] list  lines
-- KEYS[2] list  results
-- KEYS[3] set   runs with entries to flush
-- ARGV    run id
--
-- Returns 1 if they are empty, else 0.
if redis.call("LLEN", KEYS[1]) + redis.call("LLEN", KEYS[2]) > 0 then
    return 0
end
redis.call("SREM", KEYS[3], ARGV[1])
return 1
