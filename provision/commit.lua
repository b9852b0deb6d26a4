-- Writes what a login changes, all of it or nothing.
--
-- KEYS  users, names, external, list, seen, audit, ignored, blocks, state
-- ARGV  1 user ID, 2 time and nonce of this login,
--       3 record as it was read ("" for a new user), 4 new record ("" to leave it),
--       5 name, 6 former name, 7 external, 8 former external,
--       9 place in the list, 10 former place ("" for none in all of these),
--       11 block as it was read, which is lifted ("" for none),
--       12 channel on which to tell that the user has changed,
--       13 field and 14 most entries of the audit trail,
--       15 number of events, the events, then pairs of a name to note as
--       ignored and the event that tells it
-- reply "ok", or "stale" if somebody changed what the login was worked out from
local users, names, external, list, seen, audit, ignored, blocks, state = unpack(KEYS)
local id, login, old, new = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local name, formername, ext, formerext, place, formerplace, block = unpack(ARGV, 5, 11)

-- The client sends the script again when the reply is lost on the way.
if redis.call('HGET', seen, id) == login then
  return 'ok'
end

local function taken(index, field)
  local holder = redis.call('HGET', index, field)
  return holder and holder ~= id
end
if (redis.call('HGET', users, id) or '') ~= old or taken(names, name) or
   (ext ~= '' and taken(external, ext)) or
   (redis.call('HGET', blocks, id) or '') ~= block or redis.call('HEXISTS', state, 'closed') == 1 then
  return 'stale'
end

-- From here on everything is written. What can fail comes first: a full store
-- refuses the first write alone, and the audit trail is not done without.
local function tell(event)
  redis.call('XADD', audit, 'MAXLEN', '~', ARGV[14], '*', ARGV[13], event)
end
local events = tonumber(ARGV[15])
for i = 16, 15 + events do
  tell(ARGV[i])
end
for i = 16 + events, #ARGV, 2 do
  if redis.call('SADD', ignored, ARGV[i]) == 1 then
    tell(ARGV[i + 1])
  end
end
redis.call('HSET', seen, id, login)
if old ~= '' and (new ~= '' or block ~= '') then
  redis.call('PUBLISH', ARGV[12], id)
end
if block ~= '' then
  redis.call('HDEL', blocks, id)
end
if new == '' then
  return 'ok'
end

local function move(index, from, to)
  if from ~= '' and from ~= to then
    redis.call('HDEL', index, from)
  end
  if to ~= '' then
    redis.call('HSET', index, to, id)
  end
end
if formerplace ~= '' and formerplace ~= place then
  redis.call('ZREM', list, formerplace)
end
redis.call('ZADD', list, 0, place)
move(names, formername, name)
move(external, formerext, ext)
redis.call('HSET', users, id, new)
return 'ok'
