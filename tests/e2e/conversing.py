# SPDX-License-Identifier: BSD-2-Clause
"""usage: conversing.py < JSON

Runs schedules (schedules.py) in one lab, many at once: one process that has the sockets of the client, of
the servers and of the strangers, each in its own network namespace. The results come as one line of JSON,
{number: [what came of each step]}: "ok", "done" (a step that cannot fail), or what went wrong; and "lag", by how
many seconds this process was late at worst.

The input says {"namespaces": {place: path}, "clients", "servers": {place: {family: address}},
"frontends": {name: {family: address}}, "backends": {name: [place]}, "stranger": place, "stranger_mac",
"node_mac", "schedules": [[seed, number, attempt]], "at_once"}.
"""

import asyncio
import contextlib
import ctypes
import errno
import functools
import ipaddress
import json
import os
import random
import socket
import struct
import sys

import schedules
import strangers

SERVICE_PORT, TARGET_PORT = 80, 8080
CLONE_NEWNET = 0x40000000
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
RECEIVED, SENT = 1, 2
REPAIR_OFF_SILENTLY = -1
BACKLOG = 4096
LIMIT = 1 << 17  # bytes in a line

REMEMBERED = 3.5  # seconds in which a flow of datagrams must not change its backend

# Seconds that a host's own retransmissions need to get through, once or twice lost.
PATIENCE = {"open": 4.0, "say": 4.0, "ask": 1.0}
ASKS = 4  # a datagram may get lost
LAG_CHECK = 0.1
RAMP = 3.0  # seconds in which the first ones begin

libc = ctypes.CDLL(None, use_errno=True)


class Died(Exception):
    """A step did not succeed."""


class Namespaces:
    """Makes sockets in any of them."""

    def __init__(self, paths):
        self.files = {place: os.open(path, os.O_RDONLY) for place, path in paths.items()}
        self.own = os.open("/proc/self/ns/net", os.O_RDONLY)

    @contextlib.contextmanager
    def inside(self, place):
        self._enter(self.files[place])
        try:
            yield
        finally:
            self._enter(self.own)

    def socket(self, place, *arguments):
        with self.inside(place):
            made = socket.socket(*arguments)
        made.setblocking(False)
        return made

    @staticmethod
    def _enter(file):
        if libc.setns(file, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def family_of(number):
    return socket.AF_INET if number == 4 else socket.AF_INET6


def packed(name):
    """(address, port) in bytes, from what a socket calls itself."""
    return ipaddress.ip_address(name[0]).packed, name[1]


# Servers. They do what each line says, and answer with who asked, and who answers.


heard = set()  # the tokens of all that was said to servers


async def obey(reader, writer, place):
    peer = writer.get_extra_info("peername")
    while line := await reader.readline():
        command, *words = line.decode().split()
        if command == "c" or not line.endswith(b"\n"):
            return
        if command == "a":
            abort_at_close(writer.get_extra_info("socket"))
            return
        if command == "h":
            writer.write_eof()
            continue
        token = words[0]
        heard.add(token)
        if command == "w":
            await asyncio.sleep(float(words[1]))
        if command != "t":
            writer.write(f"{token} {peer[0]} {peer[1]} {place}\n".encode())
            await writer.drain()


async def serve_connection(reader, writer, place):
    with contextlib.suppress(OSError, ValueError, IndexError):
        await obey(reader, writer, place)
    writer.close()


def abort_at_close(sock):
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answer_datagrams(sock, place):
    """All that wait: asyncio's own transport takes one in each turn of its loop, which are rare in a crowd."""
    while True:
        try:
            data, peer = sock.recvfrom(LIMIT)
            words = data.decode(errors="replace").split()
            if len(words) >= 2 and words[0] == "e":
                sock.sendto(f"{words[1]} {peer[0]} {peer[1]} {place}\n".encode(), peer)
        except BlockingIOError:
            return
        except OSError:
            continue  # an ICMP error about an earlier answer


class Asked(asyncio.DatagramProtocol):
    """A client's socket: what came to it, by the first word."""

    def __init__(self):
        self.waiting = {}

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        words = data.decode(errors="replace").split()
        future = self.waiting.pop(words[0], None) if words else None
        if future and not future.done():
            future.set_result((words, peer))

    def error_received(self, error):
        pass


# Clients.


class Connection:
    """One of the client's, with what a stranger has to know of it."""

    def __init__(self, reader, writer, sock):
        self.reader, self.writer, self.sock = reader, writer, sock
        self.initial = self.numbers()[0] - 1
        self.answered_by = self.seen = None

    def numbers(self):
        """The next number to send, and the next that is expected."""
        found = []
        sock = self.sock
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        try:
            for queue in (SENT, RECEIVED):
                sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
                value = sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ)
                found.append(value & 0xFFFFFFFF)
        finally:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF_SILENTLY)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # repair has taken that away
        return found

    async def say(self, token, size):
        self.writer.write(f"e {token} {'x' * size}\n".encode())
        words = (await self.reader.readline()).decode().split()
        if not words:
            raise Died("closed")
        if words[0] != token:
            raise Died("the answer to somebody else")
        self.seen, self.answered_by = (words[1], int(words[2])), words[3]

    def command(self, letter):
        self.writer.write(letter + b"\n")

    def close(self, abort=False):
        if abort:
            abort_at_close(self.sock)
        self.writer.close()


class Conversation:
    """A schedule while it runs."""

    def __init__(self, world, schedule, seed):
        self.world, self.schedule = world, schedule
        self.rng = random.Random(f"{seed}/{schedule.number}/run")
        self.connection = self.direct = self.asked = None
        self.answered_by = self.seen = None
        self.asked_at = 0.0  # the Service, by UDP
        self.directly_seen = {}  # by backend: the client's address and port there, and when, by UDP
        self.tokens = 0

    async def run(self):
        results = []
        for name, argument in self.schedule.steps:
            try:
                result = await getattr(self, name.replace("-", "_"))(argument)
            except (OSError, Died, asyncio.TimeoutError) as error:
                results.append(describe(error))
                break
            results.append(result or "ok")
        for connection in (self.connection, self.direct):
            if connection:
                connection.close(abort=True)
        if self.asked:
            self.asked.transport.close()
        return results

    def token(self):
        self.tokens += 1
        return f"{self.schedule.number}.{self.tokens}"

    @property
    def address(self):
        return self.world.clients[self.schedule.client][str(self.schedule.family)], self.schedule.port

    @property
    def frontend(self):
        return self.world.frontends[self.schedule.frontend][str(self.schedule.family)], SERVICE_PORT

    def backend(self):
        place = self.answered_by or self.rng.choice(self.world.backends[self.schedule.frontend])
        return self.world.servers[place][str(self.schedule.family)], TARGET_PORT

    # TCP.

    async def _connect(self, address):
        kind = (family_of(self.schedule.family), socket.SOCK_STREAM)
        sock = self.world.namespaces.socket(self.schedule.client, *kind)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(self.address)
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, address), PATIENCE["open"])
            reader, writer = await asyncio.open_connection(sock=sock, limit=LIMIT)
        except BaseException:
            sock.close()
            raise
        return Connection(reader, writer, sock)

    async def open(self, _):
        self.connection = await self._connect(self.frontend)

    async def direct_open(self, _):
        self.direct = await self._connect(self.backend())

    async def say(self, size):
        await asyncio.wait_for(self.connection.say(self.token(), size), PATIENCE["say"])
        self.answered_by, self.seen = self.connection.answered_by, self.connection.seen

    async def direct_say(self, size):
        await asyncio.wait_for(self.direct.say(self.token(), size), PATIENCE["say"])

    async def half_close(self, seconds):
        """The client says no more, and has its answer a while later."""
        token = self.token()
        self.connection.writer.write(f"w {token} {seconds}\n".encode())
        self.connection.writer.write_eof()
        line = await asyncio.wait_for(self.connection.reader.readline(), seconds + PATIENCE["say"])
        if line.decode().split()[:1] != [token]:
            raise Died("half-closed, and no answer")
        await asyncio.wait_for(self.connection.reader.read(), PATIENCE["say"])

    async def half_close_server(self, _):
        """The server says no more, and listens."""
        self.connection.command(b"h")
        await asyncio.wait_for(self.connection.reader.read(), PATIENCE["say"])

    async def tell(self, _):
        """Something that is not answered."""
        token = self.token()
        self.connection.writer.write(f"t {token}\n".encode())
        await asyncio.wait_for(self._heard(token), PATIENCE["say"])

    @staticmethod
    async def _heard(token):
        while token not in heard:
            await asyncio.sleep(0.02)

    async def close(self, who):
        connection, self.connection = self.connection, None
        if who == "client-abort":
            connection.close(abort=True)
        else:
            connection.command(b"a" if who == "server-abort" else b"c")
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(connection.reader.read(), PATIENCE["say"])
            connection.close()
        await asyncio.sleep(0.02)
        return "done"

    # UDP.

    async def _exchange(self, address):
        if not self.asked:
            kind = (family_of(self.schedule.family), socket.SOCK_DGRAM)
            sock = self.world.namespaces.socket(self.schedule.client, *kind)
            sock.bind(self.address)
            _, self.asked = await asyncio.get_running_loop().create_datagram_endpoint(Asked, sock=sock)
        answered = asyncio.get_running_loop().create_future()
        for _ in range(ASKS):
            token = self.token()
            self.asked.waiting[token] = answered
            self.asked.transport.sendto(f"e {token}\n".encode(), address)
            with contextlib.suppress(asyncio.TimeoutError):
                words, peer = await asyncio.wait_for(asyncio.shield(answered), PATIENCE["ask"])
                if peer[:2] != address:
                    raise Died(f"answered by {peer[0]}")
                return words
        raise Died("no answer")

    async def ask(self, _):
        words = await self._exchange(self.frontend)
        now = asyncio.get_running_loop().time()
        if self.answered_by and words[3] != self.answered_by and now < self.asked_at + REMEMBERED:
            raise Died("answered by another backend")
        self.seen, self.answered_by, self.asked_at = (words[1], int(words[2])), words[3], now

    async def direct_ask(self, _):
        backend = self.backend()
        words = await self._exchange(backend)
        now, seen = asyncio.get_running_loop().time(), words[1:3]
        before, asked_at = self.directly_seen.get(backend, (seen, 0.0))
        if seen != before and now < asked_at + REMEMBERED:
            raise Died(f"seen as {seen}, no longer as {before}")
        self.directly_seen[backend] = seen, now

    # Others.

    async def idle(self, seconds):
        await asyncio.sleep(seconds)
        return "done"

    async def stranger(self, kind):
        world, schedule = self.world, self.schedule
        target = strangers.Target(
            rng=self.rng, proto=strangers.TCP if schedule.proto == "tcp" else strangers.UDP,
            client=packed(self.address), frontend=packed(self.frontend), backend=packed(self.backend()),
            seen=packed(self.seen), own_mac=world.stranger_mac, node_mac=world.node_mac,
            is_answered_here=self.seen != self.address or schedule.client != world.stranger)
        kinds = strangers.OF_UDP
        if schedule.proto == "tcp":
            kinds = strangers.OF_TCP
            target.initial = self.connection.initial
            target.sent, target.received = self.connection.numbers()
        for frame in kinds[kind](target):
            world.send(frame)
        await asyncio.sleep(0.02)
        return "done"


def describe(error):
    if isinstance(error, asyncio.TimeoutError):
        return "timeout"
    if isinstance(error, OSError):
        return errno.errorcode.get(error.errno, str(error))
    return str(error)


class World:
    def __init__(self, setting):
        self.namespaces = Namespaces(setting["namespaces"])
        self.clients, self.servers = setting["clients"], setting["servers"]
        self.frontends, self.backends = setting["frontends"], setting["backends"]
        self.stranger = setting["stranger"]
        self.stranger_mac, self.node_mac = (bytes.fromhex(setting[name].replace(":", ""))
                                            for name in ("stranger_mac", "node_mac"))
        self.wire = self.namespaces.socket(self.stranger, socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.wire.bind(("eth0", 0))

    def send(self, frame):
        self.wire.send(frame)

    async def serve(self):
        loop = asyncio.get_running_loop()
        for place in self.servers:
            for family in (4, 6):
                kind = family_of(family)
                listener = self.namespaces.socket(place, kind, socket.SOCK_STREAM)
                datagrams = self.namespaces.socket(place, kind, socket.SOCK_DGRAM)
                for sock in (listener, datagrams):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == 6:
                        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    sock.bind((self.servers[place][str(family)], TARGET_PORT))
                await asyncio.start_server(functools.partial(serve_connection, place=place), sock=listener,
                                           backlog=BACKLOG, limit=LIMIT)
                loop.add_reader(datagrams, answer_datagrams, datagrams, place)


async def watch_lag(results):
    loop = asyncio.get_running_loop()
    results["lag"] = 0.0
    while True:
        due = loop.time() + LAG_CHECK
        await asyncio.sleep(LAG_CHECK)
        results["lag"] = max(results["lag"], loop.time() - due)


async def converse(setting):
    world = World(setting)
    await world.serve()
    results, turn = {}, asyncio.Semaphore(setting["at_once"])

    async def run(place, seed, number, attempt):
        await asyncio.sleep(RAMP * place / setting["at_once"])
        async with turn:
            conversation = Conversation(world, schedules.schedule(seed, number, attempt), seed)
            results[f"{number}/{attempt}"] = await conversation.run()

    watch = asyncio.create_task(watch_lag(results))
    await asyncio.gather(*(run(place, *item) for place, item in enumerate(setting["schedules"])))
    watch.cancel()
    return results


def main():
    setting = json.load(sys.stdin)
    json.dump(asyncio.run(converse(setting)), sys.stdout)


if __name__ == "__main__":
    main()
