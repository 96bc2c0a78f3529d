"""A small web server on asyncio. Usage: web.py PORT"""

import asyncio
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"


class Web(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.bytes = transport, b""

    def data_received(self, data):
        self.bytes += data
        *heads, self.bytes = self.bytes.split(b"\r\n\r\n")
        self.transport.write(ANSWER * len(heads))


async def main():
    server = await asyncio.get_running_loop().create_server(Web, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
