"""python_client.py MODULE HOST KEY: segment-analytics-python ("segment.analytics") or rudder-sdk-python
("rudderstack.analytics"), told by lines as in ask.js what to do."""

import importlib
import json
import sys
from typing import Any

errors: list[str] = []
module, host, write_key = sys.argv[1:]
client: Any = importlib.import_module(module).Client(
    write_key, host=host, upload_interval=0.2, on_error=lambda error, batch: errors.append(repr(error))
)
print(json.dumps({"value": "ready"}), flush=True)  # noqa: T201
for line in sys.stdin:
    asked = json.loads(line)
    answer: dict[str, object] = {"value": None}
    try:
        if asked["call"] == "settled":
            client.flush()
            answer = {"value": [{"error": errors.pop(0)} for _ in range(len(errors))]}
        else:
            getattr(client, asked["call"])(**asked["args"][0])
    except Exception as error:  # noqa: BLE001 - whatever the client raises is the answer
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)  # noqa: T201
