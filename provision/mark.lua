-- Sets, changes or takes away a mark beside the users, and records that.
--
-- KEYS  the hash with the marks, audit, users, state
-- ARGV  1 field, 2 mark as it was read, 3 new mark ("" for none in both),
--       4 ID of the user whose mark it is ("" for one of the directory),
--       5 channel on which to tell it, 6 field and 7 most entries of the audit
--       trail, 8... events
-- reply "ok", or "stale" if somebody changed the mark since, or the user is gone
--
-- The client sends the script again when the reply is lost on the way. It then gets
-- "stale", and finds what it wanted done.
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
  return 'stale'
end
if ARGV[4] ~= '' and (redis.call('HEXISTS', KEYS[3], ARGV[4]) == 0 or redis.call('HEXISTS', KEYS[4], 'closed') == 1) then
  return 'stale'
end
for i = 8, #ARGV do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], '*', ARGV[6], ARGV[i])
end
redis.call('PUBLISH', ARGV[5], ARGV[4])
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 'ok'
