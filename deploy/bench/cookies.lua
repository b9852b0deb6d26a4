-- Each request comes with the next of the cookies in a file, from a random one on.
local cookies = {}
local at

function init(args)
  for line in io.lines(args[1]) do
    cookies[#cookies + 1] = line
  end
  math.randomseed(tonumber(args[2]))
  at = math.random(#cookies)
end

function request()
  at = at % #cookies + 1
  wrk.headers["Cookie"] = cookies[at]
  return wrk.format()
end
