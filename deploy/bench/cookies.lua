-- Each request comes with one of the cookies in a file, at random.
local cookies = {}

function init(args)
  for line in io.lines(args[1]) do
    cookies[#cookies + 1] = line
  end
end

function request()
  wrk.headers["Cookie"] = cookies[math.random(#cookies)]
  return wrk.format()
end
