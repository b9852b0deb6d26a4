-- Deletes all users of a directory that is closed, and notes in its tombstone that
-- they are gone. Redis takes the keys away at once and frees their memory beside its
-- work, however many users there are.
--
-- KEYS  state, then the keys to delete
-- ARGV  1 tombstone as it was read, 2 as it is from now on, 3 channel on which to
--       tell it
-- reply "ok", or "stale" if the tombstone is another one by now
local mark = redis.call('HGET', KEYS[1], 'closed')
if mark == ARGV[2] then
  return 'ok'
end
if mark ~= ARGV[1] then
  return 'stale'
end
redis.call('PUBLISH', ARGV[3], '')
redis.call('UNLINK', unpack(KEYS, 2))
redis.call('HSET', KEYS[1], 'closed', ARGV[2])
return 'ok'
