-- Every request is a person never seen before. Argument: the first of them.
local people = require("people")
local n = 0

function init(args)
  n = tonumber(args[1])
end

function request()
  n = n + 1
  return people.push(n)
end
