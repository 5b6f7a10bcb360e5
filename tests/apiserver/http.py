# SPDX-License-Identifier: BSD-2-Clause
"""HTTP/1.1 as Go's server speaks it: header order, chunk framing, keep-alive; on asyncio, with TLS or not."""

import asyncio
import contextlib
import email.utils
import http.client
import socket
import ssl
import struct
import urllib.parse
import zlib

BUFFER = 2048  # Go's bufio.Writer: what exceeds it in one go is a chunk of its own
LONGEST_HEAD = 64 * 1024
FLOW_SCHEMA = "X-Kubernetes-Pf-Flowschema-Uid"
PRIORITY_LEVEL = "X-Kubernetes-Pf-Prioritylevel-Uid"


class Request:
    def __init__(self, method, target, headers):
        self.method, self.headers, self.body = method, headers, b""
        path, _, query = target.partition("?")
        self.path = urllib.parse.unquote(path)
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    @classmethod
    def parse(cls, head):
        """A request from its head; ValueError if that is none."""
        lines = head.decode("latin-1").split("\r\n")
        method, target, version = lines[0].split(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(f"this is not HTTP/1: {lines[0]}")
        pairs = [line.split(":", 1) for line in lines[1:] if line]
        request = cls(method, target, {name.strip().lower(): value.strip() for name, value in pairs})
        request.keep = version == "HTTP/1.1" and request.headers.get("connection", "").lower() != "close"
        return request


def frame(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def frames(writes):
    """The chunks that Go makes of these writes when nothing is flushed in between."""
    chunks, buffered, room = [], [], BUFFER
    for data in writes:
        while len(data) > room:
            if room == BUFFER:
                chunks.append(frame(data))
                data = b""
                break
            chunks.append(frame(b"".join(buffered) + data[:room]))
            buffered, data, room = [], data[room:], BUFFER
        if data:
            buffered.append(data)
            room -= len(data)
    if buffered:
        chunks.append(frame(b"".join(buffered)))
    return b"".join(chunks)


def gzip(body):
    """What Go's gzip.Writer makes of it, in pieces as it writes them."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = packer.compress(body) + packer.flush(zlib.Z_SYNC_FLUSH) + b"\x01\x00\x00\xff\xff"
    whole = (b"\x1f\x8b\x08" + bytes(6) + b"\xff" + packed
             + struct.pack("<II", zlib.crc32(body), len(body) & 0xFFFFFFFF))
    return [whole[place:place + BUFFER] for place in range(0, len(whole), BUFFER)]


class Closed(Exception):
    """The connection is to be closed, or is gone: nothing more is written."""


class Connection(asyncio.Protocol):
    """One client. `server.handle(connection, request)` is a coroutine that writes the answer."""

    def __init__(self, server, number):
        self.server, self.number = server, number
        self.transport = self.task = self.peer = None
        self.input = bytearray()
        self.writable = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.writable.set()
        certificate = transport.get_extra_info("peercert") or {}
        subject = dict(pair for part in certificate.get("subject", ()) for pair in part)
        self.peer = subject.get("commonName")
        self.server.connections.add(self)

    def connection_lost(self, _):
        self.server.connections.discard(self)
        self.writable.set()
        if self.task:
            self.task.cancel()

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()

    def data_received(self, data):
        self.input += data
        self.next_request()

    def next_request(self, *_):
        """Begins with the next request if it is there, and the one before is answered."""
        if self.task and not self.task.done():
            return
        request = self.take_request()
        if request:
            self.task = asyncio.get_running_loop().create_task(self.serve(request))
            self.task.add_done_callback(self.next_request)

    def take_request(self):
        end = self.input.find(b"\r\n\r\n")
        if end < 0 and len(self.input) < LONGEST_HEAD or self.transport.is_closing():
            return None
        try:
            request = Request.parse(bytes(self.input[:end]))
            length = int(request.headers.get("content-length", 0))
        except ValueError:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
                                 b"Connection: close\r\n\r\n400 Bad Request")
            self.transport.close()
            return None
        if len(self.input) < end + 4 + length:
            return None
        request.body = bytes(self.input[end + 4:end + 4 + length])
        del self.input[:end + 4 + length]
        return request

    async def serve(self, request):
        try:
            await self.server.handle(self, request)
            if not request.keep:
                await self.close()
        except Closed:
            pass

    async def write(self, data):
        if self.transport.is_closing():
            raise Closed
        self.transport.write(data)
        await self.writable.wait()

    async def close(self, reset=False):
        """Closes when all is sent; with TLS without its goodbye, as when a server dies. Raises Closed."""
        if not self.transport.is_closing():
            self.transport.set_write_buffer_limits(0)
            await self.writable.wait()
        self.close_now(reset)
        raise Closed

    def close_now(self, reset=False):
        sock = self.transport.get_extra_info("socket")
        if reset and sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Output:
    """Writes one answer, and does to its bytes what a fault (a dict) asks for."""

    TICK = 0.05

    def __init__(self, connection, fault):
        self.connection, self.fault = connection, fault
        self.sent = 0

    def limit(self):
        """How many bytes of body may still be sent, and whether the connection is closed then."""
        ends = [(self.fault[name] - self.sent, name == "close_after")
                for name in ("truncate", "close_after") if name in self.fault]
        return min(ends) if ends else (None, False)

    async def head(self, status, headers, *length):
        """`length`: the header that says how long the body is."""
        reason = http.client.responses.get(status, "status code")
        lines = [f"HTTP/1.1 {status} {reason}"]
        lines += [f"{name}: {value}" for name, value in sorted(headers.items())]
        lines += [f"Date: {email.utils.formatdate(usegmt=True)}", *length]
        await self.send("\r\n".join(lines + ["", ""]).encode())

    async def send(self, data):
        rate = self.fault.get("drip")
        if not rate:
            return await self.connection.write(data)
        step = max(1, int(rate * self.TICK))
        for place in range(0, len(data), step):
            await self.connection.write(data[place:place + step])
            await asyncio.sleep(step / rate)

    async def whole(self, status, headers, body, packed):
        """A whole answer. Short ones have their length in the head, as Go does it."""
        limit, closes = self.limit()
        if limit is not None and not closes:
            body = body[:limit]
        last = b""
        if len(body) <= BUFFER:
            framed = body
            await self.head(status, headers, f"Content-Length: {len(body)}")
        else:
            framed, last = frames(gzip(body)) if packed else frame(body), b"0\r\n\r\n"
            if packed:
                headers = headers | {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
            await self.head(status, headers, "Transfer-Encoding: chunked")
        cut = self.cut(framed, bool(last), limit if closes else None)
        if cut is not None:
            await self.send(framed[:cut])
            await self.close()
        await self.send(framed + last)

    def cut(self, framed, chunked, limit):
        """After how many bytes of the body the connection is closed, None: it is not."""
        if limit is not None and limit < len(framed):
            return limit
        if self.fault.get("close") == "mid-object":
            return len(framed) // 2
        if self.fault.get("close") == "unfinished":
            return len(framed) - (not chunked)
        return None

    async def events(self, lines):
        """Events of a watch, as one flush. False if it has to end here."""
        limit, closes = self.limit()
        size = sum(map(len, lines))
        if limit is None or size <= limit:
            self.sent += size
            await self.send(frames(lines))
            return True
        await self.send(frame(b"".join(lines)[:limit]) if limit and not closes
                        else frames(lines)[:max(0, limit)])
        if closes:
            await self.close()
        return False

    async def half_an_event(self, line):
        await self.send(frame(line)[:len(line) // 2])
        await self.close()

    async def end(self):
        await self.send(b"0\r\n\r\n")

    async def close(self):
        await self.connection.close(bool(self.fault.get("reset")))


class Listener:
    """Accepts connections on a listening socket that stays bound while it does not listen."""

    BACKLOG = 512

    def __init__(self, server, sock, context):
        self.server, self.sock, self.context = server, sock, context
        self.how = "serve"
        self.numbers, self.hanging, self.taking = 0, [], set()
        self.task = None
        sock.setblocking(False)

    @staticmethod
    def bind(listen):
        """A socket for "ADDRESS:PORT". A port of the kernel's choice is bound again by its number, for
        only then it is still ours after a time of not listening."""
        address, _, port = listen.rpartition(":")
        address, port = address.strip("[]"), int(port)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        while True:
            sock = socket.socket(family)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((address, port))
            except OSError:
                sock.close()
                if not listen.endswith(":0") or port == 0:
                    raise
                port = 0
                continue
            if port:
                return sock
            port = sock.getsockname()[1]
            sock.close()

    def start(self):
        if not self.task:
            self.sock.listen(self.BACKLOG)
            self.task = asyncio.get_running_loop().create_task(self.run())

    async def stop(self):
        if not self.task:
            return
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        self.task = None
        self.sock.shutdown(socket.SHUT_RDWR)

    async def run(self):
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self.sock)
            if self.how == "hang":
                self.hanging.append(sock)
            elif self.how == "close":
                sock.close()
            else:
                task = loop.create_task(self.take(sock))
                self.taking.add(task)
                task.add_done_callback(self.taking.discard)

    async def take(self, sock):
        self.numbers += 1
        number = self.numbers
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.TimeoutError):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self.server, number), sock, ssl=self.context)

    def forget_hanging(self):
        while self.hanging:
            self.hanging.pop().close()


def tls_context(certificate, key, client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
