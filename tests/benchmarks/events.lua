-- Every request is a batch of track messages, each of a visitor never seen before. Argument: the first batch.
local people = require("people")
local WRITE_KEY = "wk_test_write_key_0001"
local EVENTS = 100

local file = assert(io.open("track.json"))
local template = file:read("*a"):gsub("%s+$", "")
file:close()

-- The batch as pieces, every second of which is the batch's id.
local messages = {}
for k = 0, EVENTS - 1 do
  messages[#messages + 1] = (template:gsub("{n}", string.format("%02d", k)))
end
local batch = '{"batch":[' .. table.concat(messages, ",") .. "]}"
local pieces, slots = {}, {}
local rest = 1
for at, past in batch:gmatch("(){id}()") do
  pieces[#pieces + 1] = batch:sub(rest, at - 1)
  pieces[#pieces + 1] = ""
  slots[#slots + 1] = #pieces
  rest = past
end
pieces[#pieces + 1] = batch:sub(rest)

local function body(n)
  local id = string.format("%08x", people.id(n))
  for _, at in ipairs(slots) do
    pieces[at] = id
  end
  return table.concat(pieces)
end

local head = "POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Write-Key: "
  .. WRITE_KEY .. "\r\nContent-Length: " .. #body(1) .. "\r\n\r\n"
local n = 0

function init(args)
  n = tonumber(args[1])
end

function request()
  n = n + 1
  return head .. body(n)
end
