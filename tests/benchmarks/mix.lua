-- 95 in 100 known customers with nothing new, 5 never seen before. Arguments: how many known, every which, the first new.
local people = require("people")
local requests, at, n = {}, 0, 0

function init(args)
  requests = people.each(tonumber(args[1]), tonumber(args[2]), people.push)
  n = tonumber(args[3])
end

function request()
  at = at + 1
  if at % 20 == 0 then
    n = n + 1
    return people.push(n)
  end
  return requests[at % #requests + 1]
end
