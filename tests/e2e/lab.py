# SPDX-License-Identifier: BSD-2-Clause
"""The lab of scripts/lab, as tests use it: places with real sockets, echo servers, agents.

Everything waits for conditions with a deadline (`wait_for`); nothing sleeps and hopes.
"""

import atexit
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = ROOT / "scripts" / "lab"
# The program under test as agent, and the one that looks in. scripts/check runs the agent sanitized.
AGENT = os.environ.get("FAIRLEAD", str(ROOT / "build" / "fairlead"))
FAIRLEAD = os.environ.get("FAIRLEAD_CLI", str(ROOT / "build" / "fairlead"))

NODES = ("node1", "node2")
# An agent's warning that is no news where all tests run in a mount namespace of their own.
PRIVATE_BPFFS = "is mounted in this mount namespace only"
PODS = {"node1": ("pod1a", "pod1b", "pod1c"), "node2": ("pod2a", "pod2b", "pod2c")}
PORTS = tuple(range(8080, 8088))
DEADLINE = 30.0

_numbers = itertools.count(1)


def end_in_order():
    """`kill` and a closed terminal end this process as Ctrl-C does, so that labs go down. nohup keeps its meaning."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def accept_signals():
    """For a child that is to get signals: who runs the tests with nohup or in the background ignores some."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def all_pods():
    return PODS["node1"] + PODS["node2"]


def node_of(place):
    """The node a place is on: its own for a node, none for what is outside."""
    if place in NODES:
        return place
    return next((node for node, pods in PODS.items() if place in pods), None)


def address_of(place, family):
    """The address that scripts/lab gives to a place."""
    hosts = {"wire": 1, "node1": 11, "node2": 12, "client": 100}
    if place in hosts:
        return f"172.18.0.{hosts[place]}" if family == 4 else f"fd00:18::{hosts[place]}"
    node, host = place[3], 11 + "abc".index(place[4])
    return f"10.244.{node}.{host}" if family == 4 else f"fd00:244:{node}::{host}"


def wait_for(condition, what, deadline=DEADLINE, pause=0.005):
    """Polls until `condition()` is true, and is that value; the failure says what was waited for."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            what = what() if callable(what) else what
            raise AssertionError(f"waited {deadline:g} s in vain for: {what}; last value: {value!r}")
        time.sleep(pause)


def let_pass(seconds):
    """For timeouts only: what is waited for is time itself."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= end, "the clock", seconds + DEADLINE)


class Place:
    """A node, a pod, or what is outside: runs commands there, and socket work in a helper process."""

    def __init__(self, lab, name, unseen=False):
        self.lab, self.name, self.unseen = lab, name, unseen
        self.node = node_of(name)
        self._helper = None
        self._lock = threading.Lock()
        self._replies, self._ids = {}, itertools.count(1)
        self._arrived = threading.Condition()

    def address(self, family):
        return address_of(self.name, family)

    def command(self, *arguments):
        unseen = ["--unseen"] if self.unseen else []
        return [str(SCRIPT), "--name", self.lab.id, "exec", *unseen, self.name, *map(str, arguments)]

    def run(self, *arguments, check=True, timeout=DEADLINE):
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done

    def start(self, *arguments, **popen):
        return self.lab.keep(subprocess.Popen(self.command(*arguments), preexec_fn=accept_signals, **popen))

    def call(self, name, **arguments):
        """Runs one of the helper's functions here and is its result."""
        return self.begin(name, **arguments)()

    def begin(self, name, **arguments):
        """Like call, without waiting: what it returns waits for the result."""
        with self._lock:
            if self._helper is None:
                self._start_helper()
            number = next(self._ids)
            request = {"id": number, "call": name, "with": arguments}
            self._helper.stdin.write(json.dumps(request) + "\n")
            self._helper.stdin.flush()
        return lambda timeout=60.0: self._result(number, name, timeout)

    def _result(self, number, name, timeout):
        with self._arrived:
            if not self._arrived.wait_for(lambda: number in self._replies, timeout):
                raise AssertionError(f"{self.name}: no result of {name} in {timeout:g} s")
            reply = self._replies.pop(number)
        if "failure" in reply:
            raise AssertionError(f"{self.name}: {name}: {reply['failure']}")
        return reply["result"]

    def _start_helper(self):
        self._helper = self.start(sys.executable, HERE / "podagent.py", text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, args=(self._helper.stdout,), daemon=True).start()

    def _read(self, output):
        for line in output:
            reply = json.loads(line)
            with self._arrived:
                self._replies[reply["id"]] = reply
                self._arrived.notify_all()

    # What tests say most often.

    def ask(self, address, port=80, proto="tcp", **options):
        return self.call("ask", proto=proto, address=address, port=port, **options)

    def ask_many(self, count, address, port=80, proto="tcp", **options):
        """Asks `count` times; with `until`, on until each of these backends has answered (podagent.ask_many)."""
        return self.call("ask_many", count=count, proto=proto, address=address, port=port, **options)

    def socket(self, proto, address, port=None, **options):
        """An open socket; connected where a port is given."""
        sock = Socket(self, self.call("open", proto=proto, address=address, **options))
        if port is not None:
            result = sock.connect(address=address, port=port)
            assert "error" not in result, f"{self.name}: connect to {address}:{port}: {result}"
        return sock

    def ping(self, address, wait=1):
        return self.run("ping", "-n", "-c", 1, "-W", wait, address, check=False)


class Socket:
    """A socket of a place's helper: sock.exchange(), sock.peer(), sock.close()."""

    def __init__(self, place, handle):
        self.place, self.handle = place, handle

    def __getattr__(self, name):
        return lambda **arguments: self.place.call(name, handle=self.handle, **arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Lab:
    """One lab of its own id. `with Lab() as lab:` leaves nothing behind, whatever happens."""

    def __init__(self):
        self.id = f"fl-t{os.getpid()}-{next(_numbers)}"
        self.directory = pathlib.Path("/run") / self.id
        self._places, self._children, self._survivor = {}, [], None

    def __enter__(self):
        atexit.register(self.down)
        self._survivor = self._start_survivor()
        subprocess.run([SCRIPT, "--name", self.id, "up"], check=True, stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.down()
        atexit.unregister(self.down)

    def _start_survivor(self):
        """A process that takes the lab down when this one is gone, even by SIGKILL: then its stdin ends.

        In a session of its own, so that a signal for this process' group does not end it.
        """
        return subprocess.Popen(["sh", "-c", 'cat >/dev/null; exec "$0" --name "$1" down', SCRIPT, self.id],
                                stdin=subprocess.PIPE, start_new_session=True)

    def down(self):
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()
        self._children = []
        self._places = {}
        subprocess.run([SCRIPT, "--name", self.id, "down"], check=True)
        if self._survivor:
            self._survivor.kill()
            self._survivor.wait()
            self._survivor.stdin.close()
            self._survivor = None

    def keep(self, child):
        """Ends a child process with the lab."""
        self._children.append(child)
        return child

    def place(self, name, unseen=False):
        key = (name, unseen)
        if key not in self._places:
            self._places[key] = Place(self, name, unseen)
        return self._places[key]

    def cgroup(self, node):
        return cgroup_root() / f"{self.id}-{node}"

    def pin_dir(self, node):
        return self.directory / node / "pins"

    def library(self, name):
        """A library to be preloaded, from the source of that name here."""
        path = self.directory / f"{name}.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", path, HERE / f"{name}.c", "-ldl"], check=True)
        return path

    def serve(self, *places, ports=PORTS, options=()):
        """Starts the echo server in places, and waits until it listens."""
        servers = [
            self.place(name).start(sys.executable, HERE / "server.py", *options, name, *ports,
                                   stdout=subprocess.PIPE, text=True)
            for name in places
        ]
        for server in servers:
            assert server.stdout.readline() == "ready\n", "an echo server did not start"
        return servers


def cgroup_root():
    """Where cgroup v2 is mounted."""
    for line in open("/proc/self/mountinfo", encoding="ascii"):
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            return pathlib.Path(fields.split()[4])
    raise AssertionError("no cgroup v2 is mounted")


class Agent:
    """`fairlead agent` on a node of the lab; its log is kept and shown when a test fails."""

    def __init__(self, lab, node, manifests, *options, program=AGENT):
        self.lab, self.node, self.manifests, self.options = lab, node, manifests, options
        self.program = program
        self.pin_dir = lab.pin_dir(node)
        self.process, self.log = None, []
        self.wanted = False  # it was started, and nobody has ended it since
        self._reader = None

    def command(self):
        return [self.program, "agent", "--manifests", self.manifests, "--node-name", self.node,
                "--cgroup", self.lab.cgroup(self.node), "--pin-dir", self.pin_dir,
                "--state-dir", self.pin_dir.parent / "state", *self.options]

    def start(self, ready=True):
        """Starts it, and waits for the line that says that everything is programmed."""
        self.pin_dir.parent.mkdir(parents=True, exist_ok=True)
        self.log = []
        self.process = self.lab.place(self.node).start(
            *self.command(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()
        self.wanted = True
        if ready:
            self.wait_for_log("ready: ")
        return self

    def _read(self, stream):
        for line in stream:
            self.log.append(line.rstrip("\n"))

    def wait_for_log(self, text, deadline=DEADLINE):
        def seen():
            if any(text in line for line in self.log):
                return True
            if self.process.poll() is not None:
                self._reader.join(1)
                assert any(text in line for line in self.log), (
                    f"the agent of {self.node} ended with {self.process.returncode}:\n{self.text()}")
            return False

        wait_for(seen, f"'{text}' in the log of the agent of {self.node}", deadline)

    def text(self):
        return "\n".join(self.log)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """SIGTERM; it must end well, and sanitizers must have nothing to say."""
        self.wanted = False
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        assert code == 0, f"the agent of {self.node} ended with {code}:\n{self.text()}"
        self.check_sanitizers()

    def kill(self):
        self.wanted = False
        self.process.kill()
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        self.check_sanitizers()

    def check_sanitizers(self):
        bad = [line for line in self.log if "Sanitizer" in line or "runtime error" in line]
        assert not bad, f"sanitizers on the agent of {self.node}:\n{self.text()}"

    def cleanup(self):
        return self.fairlead("cleanup")

    def fairlead(self, *arguments, check=True):
        """A subcommand that looks at this agent's pins."""
        return self.lab.place(self.node).run(
            FAIRLEAD, arguments[0], "--pin-dir", self.pin_dir, *arguments[1:], check=check)

    def json(self, *arguments):
        return json.loads(self.fairlead(*arguments, "-o", "json", check=False).stdout)

    # The pinned maps, as bpftool shows them.

    def dump(self, name):
        """A pinned map as a list of {key, value} with named fields; `values` if each CPU has its own."""
        done = self.lab.place(self.node).run(
            "bpftool", "-j", "map", "dump", "pinned", self.pin_dir / name)
        # What is deleted between bpftool's look at the key and its look at the value has an error for a value.
        return [entry.get("formatted", entry) for entry in json.loads(done.stdout)
                if "error" not in entry.get("value", ())]

    def frontends(self):
        """{(address, port, proto)} of everything that is programmed."""
        found = set()
        for entry in self.dump("frontends"):
            key = entry["key"]
            found.add((ip_text(key["vip"]), swap16(key["port"]), key["proto"]))
        return found

    def backends(self):
        """{(address, port, proto): (id, enum backend_state)} of backends in use."""
        return {
            (ip_text(entry["value"]["addr"]), swap16(entry["value"]["port"]),
             entry["value"]["proto"]): (entry["key"], entry["value"]["state"])
            for entry in self.dump("backends") if entry["value"]["state"] != "BACKEND_FREE"
        }


def ip_text(shown):
    """The text of a struct ip_addr as bpftool prints it; what has no name, like its union, is a field ""."""
    import ipaddress

    packed = bytes(int(octet, 0) if isinstance(octet, str) else octet for octet in shown[""]["bytes"])
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def swap16(number):
    """A __be16 as bpftool prints it: read in host order."""
    import socket

    return socket.ntohs(number)
