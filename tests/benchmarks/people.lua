-- The people of the benchmarks, as tests/benchmarks/people.py knows them. Every request has the same length.
local people = {}

local WRITE_KEY = "wk_test_write_key_0001"
local ADMIN_KEY = "sk_test_admin_key_0001"

local file = assert(io.open("authenticate.json"))
local template = file:read("*a"):gsub("%s+$", "")
file:close()

-- Scattered over the whole range, so that the indexes are written where real ids would write them.
function people.id(n)
  return (n * 48271 % 2147483647) * 69621 % 2147483647
end

-- The template as pieces, every second of which is an id or a phone number.
local pieces, slots = {}, {}
local rest = 1
for at, name, past in template:gmatch("(){(%l+)}()") do
  pieces[#pieces + 1] = template:sub(rest, at - 1)
  pieces[#pieces + 1] = ""
  slots[#slots + 1] = { at = #pieces, name = name }
  rest = past
end
pieces[#pieces + 1] = template:sub(rest)

local function body(n)
  local id = people.id(n)
  local values = { id = string.format("%010d", id), phone = string.format("%08d", id % 100000000) }
  for _, slot in ipairs(slots) do
    pieces[slot.at] = values[slot.name]
  end
  return table.concat(pieces)
end

local head = "POST /api/v1/authenticate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Write-Key: "
  .. WRITE_KEY .. "\r\nContent-Length: " .. #body(1) .. "\r\n\r\n"

function people.push(n)
  return head .. body(n)
end

function people.lookup(n)
  return string.format(
    "GET /api/v1/customers/member-%010d HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n",
    people.id(n), ADMIN_KEY)
end

-- Requests for `count` people that are known, every `stride`-th of them.
function people.each(count, stride, make)
  local requests = {}
  for k = 1, count do
    requests[k] = make(1 + (k - 1) * stride)
  end
  return requests
end

return people
