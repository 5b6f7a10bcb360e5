# SPDX-License-Identifier: BSD-2-Clause
"""TCP in the middle: `tunnel.py LISTEN [TO]`, both ADDRESS:PORT.

Forwards connections to TO; without it this is an HTTP proxy that knows CONNECT. Prints a line of JSON when
it listens, {"port": 3128}, and one for each connection, {"to": "10.0.0.1:6443"}. It is told a word a line:

    stall   what is open passes nothing on any more; what comes is served
    hang    what comes is accepted, and nothing is passed on
    serve   what comes is served

It ends with its standard input.
"""

import asyncio
import contextlib
import json
import sys

PIECE = 65536


class Tunnel:
    def __init__(self, target):
        self.target = target
        self.hangs = False
        self.going = []   # an Event for each connection: set while it passes things on
        self.tasks = set()

    async def accept(self, reader, writer):
        going = asyncio.Event()
        if not self.hangs:
            going.set()
        self.going.append(going)
        self.tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await going.wait()
            target = self.target or await self.greet(reader, writer)
            say({"to": target})
            host, _, port = target.rpartition(":")
            there = await asyncio.open_connection(host.strip("[]"), int(port))
            if not self.target:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(self.copy(reader, there[1], going), self.copy(there[0], writer, going))
        writer.close()

    @staticmethod
    async def greet(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode("latin-1").split("\r\n")[0].split(" ")
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            raise OSError(method)
        return target

    @staticmethod
    async def copy(reader, writer, going):
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                await going.wait()
                writer.write(piece)
                await writer.drain()
        writer.close()

    def obey(self, word):
        if word == "stall":
            for going in self.going:
                going.clear()
        self.hangs = word == "hang"


def say(what):
    print(json.dumps(what), flush=True)


async def main(listen, target=None):
    tunnel = Tunnel(target)
    host, _, port = listen.rpartition(":")
    server = await asyncio.start_server(tunnel.accept, host.strip("[]"), int(port))
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    say({"port": server.sockets[0].getsockname()[1]})
    while word := (await words.readline()).decode().strip():
        tunnel.obey(word)
        say({"did": word})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
