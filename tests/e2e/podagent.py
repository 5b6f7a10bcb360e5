# SPDX-License-Identifier: BSD-2-Clause
"""Runs inside a place of the lab and does what the tests ask: real sockets, raw frames.

Requests come as JSON lines on stdin, {"id": 1, "call": "ask", "with": {...}}; each runs in a thread of
its own and is answered by a line {"id": 1, "result": ...} or {"id": 1, "failure": "..."}. Errors that
a socket reports are results: their names, such as "ECONNREFUSED", or "timeout".
"""

import ctypes
import datetime
import errno
import itertools
import json
import math
import socket
import struct
import sys
import threading
import time
import traceback

import sctp

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_OUTGOING = 4
SO_ATTACH_FILTER = 26
TP_STATUS_VLAN_VALID = 1 << 4
IP_MTU = 14
IPV6_MTU = 24
IP_RECVERR = 11
IPV6_RECVERR = 25
MSG_ERRQUEUE = 0x2000
IPPROTO_MPTCP = 262
AF_UNSPEC = bytes(16)


def error_name(error):
    if isinstance(error, (TimeoutError, socket.timeout)):
        return "timeout"
    if isinstance(error, EOFError):
        return "closed"
    return errno.errorcode.get(error.errno, str(error))


def clock():
    """The time as the agent's log has it."""
    return datetime.datetime.now().strftime("%H:%M:%S.%f")


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def kind_of(proto):
    return {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "mptcp": socket.SOCK_STREAM}[proto]


def receive_line(sock):
    """One line, which is a whole answer for TCP and one datagram for UDP."""
    data = b""
    while not data.endswith(b"\n"):
        piece = sock.recv(65535)
        if not piece:
            raise EOFError
        data += piece
    return data.decode().strip()


def parse_answer(line):
    words = line.split()
    client, _, client_port = words[1].rpartition(":")
    return {
        "name": words[0],
        "client": client,
        "client_port": int(client_port),
        "port": int(words[2]),
        "length": len(line),
    }


class Sockets:
    """Sockets that live from one request to the next, by handle."""

    def __init__(self):
        self.sockets = {}
        self.handles = itertools.count(1)

    def open(self, proto, address, timeout=2.0, source=None, source_port=0):
        """A socket of the address's family; not connected, not yet bound unless a source is given."""
        family = family_of(address)
        sock = socket.socket(family, kind_of(proto), IPPROTO_MPTCP if proto == "mptcp" else 0)
        sock.settimeout(timeout)
        if source or source_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((source or "", source_port))
        handle = next(self.handles)
        self.sockets[handle] = sock
        return handle

    def connect(self, handle, address, port):
        return self._try(handle, lambda sock: sock.connect((address, port)))

    def disconnect(self, handle):
        """connect() to nobody, which Python does not know."""
        libc = ctypes.CDLL(None, use_errno=True)

        def disconnect(sock):
            if libc.connect(sock.fileno(), AF_UNSPEC, len(AF_UNSPEC)):
                raise OSError(ctypes.get_errno(), "connect to AF_UNSPEC")

        return self._try(handle, disconnect)

    def queue_errors(self, handle):
        """Errors that ICMP brings come with the address that they are about (receive_error)."""
        sock = self.sockets[handle]
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)

    def receive_error(self, handle):
        def receive(sock):
            *_, about = sock.recvmsg(0, 512, MSG_ERRQUEUE)
            return {"about": list(about[:2])}

        return self._try(handle, receive)

    def send(self, handle, message="hello\n"):
        return self._try(handle, lambda sock: sock.sendall(message.encode()))

    def send_to(self, handle, address, port, message="hello\n"):
        return self._try(handle, lambda sock: sock.sendto(message.encode(), (address, port)))

    def receive(self, handle):
        return self._try(handle, lambda sock: {"answer": parse_answer(receive_line(sock))})

    def receive_from(self, handle):
        def receive(sock):
            data, sender = sock.recvfrom(65535)
            return {"answer": parse_answer(data.decode()), "sender": list(sender[:2])}

        return self._try(handle, receive)

    def exchange(self, handle, message="hello\n"):
        def exchange(sock):
            sock.sendall(message.encode())
            return {"answer": parse_answer(receive_line(sock))}

        return self._try(handle, exchange)

    def exchange_with(self, handle, address, port, message="hello\n"):
        result = self.send_to(handle, address, port, message)
        return result if "error" in result else self.receive_from(handle)

    def peer(self, handle):
        return self._try(handle, lambda sock: {"peer": list(sock.getpeername()[:2])})

    def name(self, handle):
        return self._try(handle, lambda sock: {"name": list(sock.getsockname()[:2])})

    def pending_error(self, handle):
        """SO_ERROR: what the kernel has to tell this socket."""
        code = self.sockets[handle].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.errorcode.get(code, "") if code else ""

    def mtu(self, handle):
        sock = self.sockets[handle]
        if sock.family == socket.AF_INET6:
            return sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
        return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)

    def close(self, handle):
        self.sockets.pop(handle).close()

    def _try(self, handle, action):
        begun = time.monotonic()
        try:
            result = action(self.sockets[handle])
        except (OSError, EOFError) as error:
            result = {"error": error_name(error)}
        result = result if isinstance(result, dict) else {}
        result["seconds"] = time.monotonic() - begun
        return result


class Asking:
    """Asks again and again in a thread of its own until told to stop, and keeps what went wrong."""

    def __init__(self, targets, pause=0.0, again_after=(), **options):
        self.targets, self.pause, self.options = targets, pause, options
        self.again_after = again_after  # errors of UDP after which a client asks once more
        self.answers, self.failures, self.count = {}, [], 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        for address, port, proto in itertools.cycle(self.targets):
            if self.stopping.is_set():
                return
            result = ask(proto, address, port, **self.options)
            if proto == "udp" and result.get("error") in self.again_after:
                result = ask(proto, address, port, **self.options)
            self.count += 1
            self.stopping.wait(self.pause)
            if "error" in result:
                if len(self.failures) < 100:
                    self.failures.append([proto, address, result["error"], result["step"], self.count, clock()])
                continue
            key = f"{address} {proto} {result['answer']['name']}:{result['answer']['port']}"
            self.answers[key] = self.answers.get(key, 0) + 1

    def state(self):
        return {"answers": dict(self.answers), "failures": list(self.failures), "count": self.count}

    def stop(self):
        self.stopping.set()
        self.thread.join()
        return self.state()


class Holding(Asking):
    """Keeps TCP connections open, one to each target, and uses all of them again and again. Each is
    replaced after so many uses, so that some are always old."""

    def __init__(self, targets, uses=200, **options):
        self.uses = uses
        super().__init__(targets, **options)

    def run(self):
        held = [None] * len(self.targets)
        while not self.stopping.wait(self.pause):
            for number, target in enumerate(self.targets):
                held[number] = self.use(held[number], *target)
        for sock, _ in filter(None, held):
            sock.close()

    def use(self, held, address, port, proto):
        """One exchange on a connection; what is held of it afterwards."""
        step = "use"
        try:
            if not held:
                step = "connect"
                held = socket.create_connection((address, port), **self.options), 0
            sock, used = held
            sock.sendall(b"hello\n")
            name = parse_answer(receive_line(sock))["name"]
        except (OSError, EOFError) as error:
            if len(self.failures) < 100:
                self.failures.append([proto, address, error_name(error), step, self.count, clock()])
            if held:
                held[0].close()
            return None
        self.count += 1
        self.answers[name] = self.answers.get(name, 0) + 1
        if used < self.uses:
            return sock, used + 1
        sock.close()
        return None


def ask(proto, address, port, message="hello\n", timeout=2.0, source=None, source_port=0, connected=True,
        options=(), aborts=False):
    """One request on a new socket. UDP may be sent without connecting.

    `options`: (level, name, value in hex) each. A connection that `aborts` ends with a reset, and leaves
    nothing behind at either end.
    """
    begun = time.monotonic()
    step = "socket"
    result = {}
    try:
        with socket.socket(family_of(address), kind_of(proto)) as sock:
            sock.settimeout(timeout)
            for level, name, value in options:
                sock.setsockopt(level, name, bytes.fromhex(value))
            if source or source_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((source or "", source_port))
            if aborts:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if connected:
                step = "connect"
                sock.connect((address, port))
                result["peer"] = list(sock.getpeername()[:2])
                step = "send"
                sock.sendall(message.encode())
                step = "receive"
                result["answer"] = parse_answer(receive_line(sock))
            else:
                step = "send"
                sock.sendto(message.encode(), (address, port))
                step = "receive"
                data, sender = sock.recvfrom(65535)
                result["answer"] = parse_answer(data.decode())
                result["sender"] = list(sender[:2])
    except (OSError, EOFError) as error:
        result["error"] = error_name(error)
        result["step"] = step
    result["seconds"] = time.monotonic() - begun
    return result


def ask_many(count, until=(), **request):
    """Asks `count` times, and on if not all of `until` have answered yet: which backend does is chance.

    It gives up when one that is chosen as often as the others would have been missed in fewer than one of a
    thousand million runs.
    """
    results, missing = [], set(until)
    enough = math.ceil(math.log(1e-9 / len(missing)) / math.log(1 - 1 / len(missing))) if len(missing) > 1 else 0
    while len(results) < count or (missing and len(results) < enough):
        results.append(ask(**request))
        missing.discard(results[-1].get("answer", {}).get("name"))
    return results


def ask_sctp(address, port, timeout=2.0):
    try:
        return {"answer": parse_answer(sctp.ask(address, port, timeout))}
    except OSError as error:
        return {"error": error_name(error)}


def ask_until(names, proto, at_least, at_most, first_port=0, **request):
    """Asks until each of `names` has answered, `at_least` so often, and not after the first failure.

    The result is {name: [addresses of clients that it saw]}, or the failure. With `first_port`, each
    question comes from the next port.
    """
    seen = {}
    for count in range(at_most):
        if count >= at_least and seen.keys() >= set(names):
            break
        port = {"source_port": first_port + count} if first_port else {}
        result = ask_sctp(**request) if proto == "sctp" else ask(proto, **request, **port)
        if "error" in result:
            return {**result, "count": count, "seen": seen}
        answer = result["answer"]
        if answer["client"] not in seen.setdefault(answer["name"], []):
            seen[answer["name"]].append(answer["client"])
    return {"seen": seen}


class Packets:
    """Raw frames, sent and captured as they are on the link."""

    def __init__(self):
        self.captures = {}
        self.handles = itertools.count(1)

    def send_frames(self, interface, frames, times=1):
        """All of them, in order, so many times."""
        octets = [bytes.fromhex(frame) for frame in frames] * times
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((interface, 0))
            for frame in octets:
                sock.send(frame)

    def capture_open(self, interface, program=None):
        """`program`: classic BPF as [code, jt, jf, k] each, to keep all but what is wanted away."""
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        if program:
            code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
            buffer = ctypes.create_string_buffer(code)
            filter_ = struct.pack("HL", len(program), ctypes.addressof(buffer))
            sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        sock.bind((interface, ETH_P_ALL))
        handle = next(self.handles)
        self.captures[handle] = sock
        return handle

    def capture_read(self, handle, timeout, outgoing=False):
        """Frames that have come; waits for the first of them at most `timeout` seconds."""
        sock = self.captures[handle]
        frames = []
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            sock.settimeout(0.0 if frames else max(left, 0.0))
            try:
                frame, sender, auxdata = self._receive(sock)
            except (BlockingIOError, TimeoutError, socket.timeout):
                return frames
            if outgoing or sender[2] != PACKET_OUTGOING:
                frames.append(self._with_tag(frame, auxdata).hex())

    @staticmethod
    def _receive(sock):
        frame, auxdata, _, sender = sock.recvmsg(65535, 256)
        return frame, sender, auxdata

    @staticmethod
    def _with_tag(frame, auxdata):
        """The kernel takes a VLAN tag out of the frame; here it is put back."""
        for level, kind, data in auxdata:
            if level == SOL_PACKET and kind == PACKET_AUXDATA:
                status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
                if status & TP_STATUS_VLAN_VALID:
                    return frame[:12] + struct.pack("!HH", tpid or 0x8100, tci) + frame[12:]
        return frame

    def capture_close(self, handle):
        self.captures.pop(handle).close()


class Agent:
    def __init__(self):
        self.calls = {"ask": ask, "ask_many": ask_many, "ask_sctp": ask_sctp, "ask_until": ask_until, "ping": lambda: "pong"}
        for group in (Sockets(), Packets()):
            for name in dir(group):
                if not name.startswith("_") and callable(getattr(group, name)):
                    self.calls[name] = getattr(group, name)
        self.asking = {}
        self.calls.update(asking_start=self.asking_start, holding_start=self.holding_start,
                          asking_state=self.asking_state,
                          asking_stop=self.asking_stop)
        self.output = threading.Lock()

    def asking_start(self, targets, threads=1, **options):
        return self._start(Asking, targets, threads, **options)

    def holding_start(self, targets, threads=1, **options):
        return self._start(Holding, targets, threads, **options)

    def _start(self, kind, targets, threads, **options):
        handle = len(self.asking) + 1
        self.asking[handle] = [kind(targets, **options) for _ in range(threads)]
        return handle

    def asking_state(self, handle):
        return self._sum(asking.state() for asking in self.asking[handle])

    def asking_stop(self, handle):
        for asking in self.asking[handle]:
            asking.stopping.set()
        return self._sum(asking.stop() for asking in self.asking[handle])

    @staticmethod
    def _sum(states):
        total = {"answers": {}, "failures": [], "count": 0}
        for state in states:
            total["count"] += state["count"]
            total["failures"] += state["failures"]
            for key, count in state["answers"].items():
                total["answers"][key] = total["answers"].get(key, 0) + count
        return total

    def serve(self, request):
        try:
            reply = {"id": request["id"], "result": self.calls[request["call"]](**request["with"])}
        except Exception:  # the test shall see whatever went wrong
            reply = {"id": request["id"], "failure": traceback.format_exc()}
        with self.output:
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()

    def run(self):
        for line in sys.stdin:
            threading.Thread(target=self.serve, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    Agent().run()
