-- Finds the users that a login may mean, and the attributes it brings that are
-- not yet noted as ignored. Changes nothing.
--
-- KEYS  users, names, external, ignored, seen, blocks, state
-- ARGV  1 name, 2 external ("" for none), 3 most names to note, 4... names to note
-- reply the tombstone of the directory ("" for none), then three of the user
--       found by external and three of the one found by name (each "" for none):
--       the record, the last login, the block; then the names that are to be noted
local users, names, external, ignored, seen, blocks, state = unpack(KEYS)

local reply = {redis.call('HGET', state, 'closed') or ''}
local function find(index, field)
  local id = field ~= '' and redis.call('HGET', index, field)
  for _, key in ipairs({users, seen, blocks}) do
    reply[#reply + 1] = id and redis.call('HGET', key, id) or ''
  end
  if id and reply[#reply - 2] == '' then
    error('index has an ID without a user')
  end
end

find(external, ARGV[2])
find(names, ARGV[1])
local room = tonumber(ARGV[3]) - redis.call('SCARD', ignored)
for i = 4, #ARGV do
  if room > 0 and redis.call('SISMEMBER', ignored, ARGV[i]) == 0 then
    reply[#reply + 1] = ARGV[i]
    room = room - 1
  end
end
return reply
