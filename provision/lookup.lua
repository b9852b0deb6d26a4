-- Finds the users that a login may mean, and the attributes it brings that are
-- not yet noted as ignored. Changes nothing.
--
-- KEYS  users, names, external, ignored
-- ARGV  1 name, 2 external ("" for none), 3 most names to note, 4... names to note
-- reply the record found by external, the record found by name ("" for none),
--       then the names that are to be noted
local users, names, external, ignored = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function record(index, field)
  local id = field ~= '' and redis.call('HGET', index, field)
  if not id then
    return ''
  end
  return redis.call('HGET', users, id) or error('index has an ID without a user')
end

local reply = {record(external, ARGV[2]), record(names, ARGV[1])}
local room = tonumber(ARGV[3]) - redis.call('SCARD', ignored)
for i = 4, #ARGV do
  if room > 0 and redis.call('SISMEMBER', ignored, ARGV[i]) == 0 then
    reply[#reply + 1] = ARGV[i]
    room = room - 1
  end
end
return reply
