"""A client of the standard library. Half of its sockets block; the other half have a time-out, and so do not.
Usage: blocking.py CLIENT STEADY FLAPPING DEAD COUNT, then a round's number a line."""

import gc
import http.client
import json
import sys

METHODS = ["GET", "GET", "POST", "GET", "PUT", "GET", "GET", "GET", "POST", "GET"]
CLIENT, *NUMBERS = sys.argv[1:]
STEADY, FLAPPING, DEAD, COUNT = map(int, NUMBERS)


def operation(number, n):
    port = DEAD if n % 10 == 9 else FLAPPING if n % 10 in (7, 8) else STEADY
    limit = 0.04 if n % 13 == 12 else 30 if n % 2 else None
    path = f"/{CLIENT}/{number}/{n}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=limit)
    try:
        connection.request(METHODS[n % 10], path, body=None if METHODS[n % 10] == "GET" else b"x" * 100)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return "fail"
    finally:
        connection.close()
    return str(answer.status) if answer.status != 200 or body == f"{path}\n".encode() * 20 else "corrupt"


for line in sys.stdin:
    results = [operation(int(line), n) for n in range(COUNT)]
    gc.collect()
    print(json.dumps({"results": results}), flush=True)
