-- Asks jitgate about a request. Where it may pass, the headers for the app take the
-- place of whatever the visitor sent under their names; else the visitor gets jitgate's
-- answer.

local http = require "socket.http"
local ltn12 = require "ltn12"

local ask = "http://127.0.0.1:8080/.jitgate/auth?redirect=1"

local identity = {
  "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups",
  "X-Jitgate-Directory", "X-Jitgate-Domain", "X-Jitgate-Entitlements",
}

-- Of one connection, or of a body that is not sent along.
local dropped = {
  ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["keep-alive"] = true, ["te"] = true,
  ["transfer-encoding"] = true, ["upgrade"] = true,
  ["x-forwarded-for"] = true, ["x-forwarded-method"] = true, ["x-forwarded-host"] = true, ["x-forwarded-uri"] = true,
  ["x-original-url"] = true, ["x-original-method"] = true,
  ["content-type"] = true, ["date"] = true, ["server"] = true, -- Apache has its own
}

function check(r)
  -- With this, Apache would take the headers for the app away again.
  local connection = (r.headers_in["Connection"] or ""):lower()
  if connection:find("forwarded") or connection:find("jitgate") or connection:find("cookie") then
    return 400
  end
  local headers = {}
  for name, value in pairs(r:headers_in_table()) do
    if not dropped[name:lower()] then
      headers[name] = value
    end
  end
  headers["X-Forwarded-For"] = r.useragent_ip
  headers["X-Forwarded-Method"] = r.method
  headers["X-Forwarded-Host"] = r.headers_in["Host"]
  headers["X-Forwarded-Uri"] = r.unparsed_uri

  local body = {}
  http.TIMEOUT = 5
  local _, status, answer = http.request{ url = ask, headers = headers, redirect = false, sink = ltn12.sink.table(body) }
  if status == 202 then
    for _, name in ipairs(identity) do
      local value = answer[name:lower()]
      r.headers_in[name] = value ~= "" and value or nil
    end
    return apache2.DECLINED
  end
  if type(status) ~= "number" or status < 300 then
    return 503
  end
  for name, value in pairs(answer) do
    if not dropped[name] then
      r.err_headers_out[name] = value
    end
  end
  r.subprocess_env["suppress-error-charset"] = "1" -- the page says itself that it is UTF-8
  r.subprocess_env["jitgate-type"] = answer["content-type"]
  r:custom_response(status, table.concat(body))
  return status
end
