"""The server of a soak: HTTP with the faults of the plan, on a port that is always open and on one that opens and closes."""

import asyncio
import collections
import contextlib
import socket
import struct

from plan import plan_of

OPEN_S, CLOSED_S = 0.006, 0.004  # of the flapping port
STATUSES = {"503": "", "503 now": "Retry-After: 0\r\n", "503 later": "Retry-After: 3600\r\n", "429": "", "404": ""}


class Ledger:
    """The requests that were read whole, by the round they belong to."""

    def __init__(self):
        self.rounds = collections.defaultdict(lambda: collections.defaultdict(list))

    def step(self, method, path, flapping, reused):
        """The step of this request, noted."""
        _, client, number, n = path.split("/")
        requests = self.rounds[client, number][int(n)]
        plan = plan_of(int(n), flapping)
        step = plan[min(len(requests), len(plan) - 1)]
        # libcurl itself sends a request again, POST too, when a connection that was kept dies.
        if reused and method == "POST" and step in ("reset", "empty", "half head"):
            step = "200"
        requests.append((method, step))
        return step

    def close(self, client, number):
        """Hands out a round's requests: {N: [(method, step), ...]}."""
        return self.rounds.pop((client, str(number)), {})


class Exchange(asyncio.Protocol):
    def __init__(self, ledger, flapping):
        self.ledger, self.flapping = ledger, flapping
        self.bytes, self.reused = b"", False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.bytes += data
        while b"\r\n\r\n" in self.bytes:
            head, _, rest = self.bytes.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines[1:])
            length = int(fields.get("content-length", 0))
            if len(rest) < length:
                return
            self.bytes = rest[length:]
            method, path, _ = lines[0].split()
            self.answer(self.ledger.step(method, path, self.flapping, self.reused), path)
            self.reused = True

    def answer(self, step, path):
        if step in STATUSES:
            return self.send(step[:3], STATUSES[step], b"no\n", path)
        body = f"{path}\n".encode() * 20
        if step == "200":
            self.send("200", "", body, path)
        elif step == "slow":
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            self.transport.write(head + body[:7])
            asyncio.get_running_loop().call_later(0.003, self.end, body[7:])
        elif step == "half body":
            self.end(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:50])
        elif step == "empty":
            self.end(b"")
        elif step != "hang":
            if step == "half head":
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def end(self, rest):
        self.transport.write(rest)
        self.transport.close()

    def send(self, status, header, body, path):
        keep = path.startswith("/curls")
        header += f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        self.transport.write(f"HTTP/1.1 {status} X\r\n{header}".encode() + body)
        if not keep:
            self.transport.close()


def held_port():
    """A socket that keeps a port to us and refuses: others may listen there with SO_REUSEADDR."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder, holder.getsockname()[1]


async def flap(ledger, port):
    loop = asyncio.get_running_loop()
    while True:
        server = await loop.create_server(lambda: Exchange(ledger, True), "127.0.0.1", port, reuse_address=True)
        try:
            await asyncio.sleep(OPEN_S)
        finally:
            server.close()
        await asyncio.sleep(CLOSED_S)


@contextlib.asynccontextmanager
async def serving(ledger):
    """Yields the ports: always open, flapping, dead."""
    loop = asyncio.get_running_loop()
    steady = await loop.create_server(lambda: Exchange(ledger, False), "127.0.0.1", 0, backlog=1024)
    (_, flapping), (_, dead) = holders = held_port(), held_port()
    task = asyncio.create_task(flap(ledger, flapping))
    try:
        yield steady.sockets[0].getsockname()[1], flapping, dead
    finally:
        task.cancel()
        steady.close()
        for holder, _ in holders:
            holder.close()
