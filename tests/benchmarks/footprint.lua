-- The CRM asks for the newest page of a footprint, again and again. Arguments: its events, its visitors.
local ADMIN_KEY = "sk_test_admin_key_0001"
local asked

function init(args)
  asked = string.format(
    "GET /api/v1/customers/footprint-%s-%s/footprint HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n",
    args[1], args[2], ADMIN_KEY)
end

function request()
  return asked
end
