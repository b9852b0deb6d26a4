-- Asks jitgate about a request. Where it may pass, txn.jitgate is "yes", and the headers
-- for the app take the place of whatever the visitor sent under their names. Where it is
-- not "yes", whatever went wrong here, the request is not for the app.

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

-- The cookies of the app: not those of jitgate, with which it could act as the visitor elsewhere.
local function foreign(lines)
  local kept = {}
  for _, line in ipairs(lines or {}) do
    for cookie in line:gmatch("[^;]+") do
      cookie = cookie:match("^%s*(.-)%s*$")
      local name = cookie:lower():gsub("^__host%-", "")
      if cookie ~= "" and name:sub(1, 7) ~= "jitgate" then
        kept[#kept + 1] = cookie
      end
    end
  end
  return table.concat(kept, "; ")
end

local function replace(txn, name, value)
  txn.http:req_del_header(name)
  if value and value ~= "" then
    txn.http:req_add_header(name, value)
  end
end

core.register_action("jitgate", { "http-req" }, function(txn)
  local headers, count = {}, 0
  for name, values in pairs(txn.http:req_get_headers()) do
    local list = all(values)
    count = count + #list
    if not dropped[name] then
      headers[name] = list
    end
  end
  -- HAProxy's own client does not survive more headers than its buffer has places for.
  if count > 64 then
    return
  end
  headers["x-forwarded-for"] = { txn.f:src() }
  headers["x-forwarded-method"] = { txn.f:method() }
  headers["x-forwarded-host"] = headers["host"]
  headers["x-forwarded-uri"] = { txn.f:pathq() }

  local answer = core.httpclient():get{ url = ask, headers = headers, timeout = 2000 }
  if answer.status ~= 202 then
    return
  end
  for _, name in ipairs(identity) do
    local values = answer.headers[name]
    replace(txn, name, values and values[0])
  end
  replace(txn, "cookie", foreign(headers["cookie"]))
  txn:set_var("txn.jitgate", "yes")
end, 0)
