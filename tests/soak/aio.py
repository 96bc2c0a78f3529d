"""An asyncio client, ten operations at a time. Usage: aio.py CLIENT STEADY FLAPPING DEAD COUNT, then a round's number a line."""

import asyncio
import gc
import json
import sys

METHODS = ["GET", "GET", "POST", "GET", "PUT", "GET", "GET", "GET", "POST", "GET"]
CLIENT, *NUMBERS = sys.argv[1:]
STEADY, FLAPPING, DEAD, COUNT = map(int, NUMBERS)


async def exchange(number, n):
    port = DEAD if n % 10 == 9 else FLAPPING if n % 10 in (7, 8) else STEADY
    path = f"/{CLIENT}/{number}/{n}"
    body = b"" if METHODS[n % 10] == "GET" else b"x" * 100
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{METHODS[n % 10]} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        answer = await reader.readexactly(length)
    finally:
        writer.close()
    status = head.split()[1].decode()
    return status if status != "200" or answer == f"{path}\n".encode() * 20 else "corrupt"


async def operation(number, n):
    try:
        return await asyncio.wait_for(exchange(number, n), 0.04 if n % 13 == 12 else 30)
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
        return "fail"


async def round_of(number):
    results = []
    for first in range(0, COUNT, 10):
        results += await asyncio.gather(*(operation(number, n) for n in range(first, first + 10)))
    return results


loop = asyncio.new_event_loop()
for line in sys.stdin:
    results = loop.run_until_complete(round_of(int(line)))
    loop.run_until_complete(asyncio.sleep(0.01))
    gc.collect()
    print(json.dumps({"results": results}), flush=True)
