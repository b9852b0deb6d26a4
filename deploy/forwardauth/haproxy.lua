-- Asks jitgate about a request. Where it may pass, the headers for the app take the
-- place of whatever the visitor sent under their names; else the visitor gets jitgate's
-- answer.

local ask = "http://127.0.0.1:8080/.jitgate/auth?redirect=1"

local identity = {
  "x-forwarded-user", "x-forwarded-email", "x-forwarded-groups",
  "x-jitgate-directory", "x-jitgate-domain", "x-jitgate-entitlements",
}

-- Of one connection, or of a body that is not sent along.
local dropped = {
  ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["keep-alive"] = true, ["te"] = true,
  ["transfer-encoding"] = true, ["upgrade"] = true,
  ["x-forwarded-for"] = true, ["x-forwarded-method"] = true, ["x-forwarded-host"] = true, ["x-forwarded-uri"] = true,
  ["x-original-url"] = true, ["x-original-method"] = true,
}

-- HAProxy counts values from 0, and Lua from 1.
local function all(values)
  local list = {}
  for i = 0, #values do
    list[#list + 1] = values[i]
  end
  return list
end

core.register_action("jitgate", { "http-req" }, function(txn)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not dropped[name] then
      headers[name] = all(values)
    end
  end
  headers["x-forwarded-for"] = { txn.f:src() }
  headers["x-forwarded-method"] = { txn.f:method() }
  headers["x-forwarded-host"] = headers["host"]
  headers["x-forwarded-uri"] = { txn.f:pathq() }

  local answer = core.httpclient():get{ url = ask, headers = headers, timeout = 5000 }
  if answer.status == 202 then
    for _, name in ipairs(identity) do
      local values = answer.headers[name]
      txn.http:req_del_header(name)
      if values and values[0] ~= "" then
        txn.http:req_add_header(name, values[0])
      end
    end
    return
  end

  local reply = txn:reply{ status = answer.status >= 300 and answer.status or 503 }
  for name, values in pairs(answer.headers or {}) do
    if not dropped[name] then
      for _, value in ipairs(all(values)) do
        reply:add_header(name, value)
      end
    end
  end
  reply:set_body(answer.body or "")
  txn:done(reply)
end, 0)
