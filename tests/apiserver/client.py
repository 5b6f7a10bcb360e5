# SPDX-License-Identifier: BSD-2-Clause
"""How tests use the API server. Both classes have the same methods, those of `Methods`:

    with ApiServerProcess(netns="/run/netns/fl-t1-wire", tls=True, tokens=["secret"]) as server:
        server.load("services-list.json", "endpointslices-v1-list.json")
        ... run a client against server.url, server.certificates.ca, server.tokens[0] ...
        server.wait_for_watch("services")
        server.put({"kind": "Service", "metadata": {"namespace": "shop", "name": "web"}, "spec": {...}})
        server.faults.add(resource="services", verb="watch", status=503, times=2)
        server.drop_watches("services", how="reset")

`ApiServerProcess` is the one to use: a process of its own, in another network namespace if asked, driven
through a unix socket. `ApiServer` is a thread of this process, for tests without namespaces and for
debuggers. Resources are named as in paths: services, endpoints, endpointslices, nodes,
namespaces, servicecidrs, events.
"""

import contextlib
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from .certificates import Certificates
from .resources import RESOURCES

PACKAGE = pathlib.Path(__file__).resolve().parent
DEADLINE = 30.0


class ServerError(Exception):
    """The server refused what was asked: its message says what and why."""


class Faults:
    """What goes wrong, as data. A fault is some conditions, and what happens to requests that meet them.

    Conditions (all that are given must hold):
        resource="services"  this resource only
        verb="list"          list, watch, get, create, update, delete, or path (what is no resource:
                             /version, /readyz)
        continued=True       pages after the first only; False: first pages only
        path="/apis"         the path begins so
        skip=2               lets the first two requests that match pass
        times=1              then strikes this often; None (the default): until cleared

    What happens (one, or several that make sense together; the rest of the answer is as ever):
        status=503           this status; with headers={"Retry-After": "5"} and body="..." if wanted. Without
                             a body the answer is as recorded for 401, 403, 404, 406, 410, 429, 500 and 504,
                             else a Status with reason InternalError or ServiceUnavailable.
        gone="status"        410: as the answer; "event": as ERROR event in the stream (watch only)
        empty=True           a list without items, with the right resourceVersion
        malformed=True       broken JSON: the whole list, or one event of a watch
        truncate=100         a body of 100 bytes, then the answer ends as if complete
        close="now"          closes without an answer; "mid-object": in the middle of an object;
                             "unfinished": after everything but the last chunk
        close_after=5000     closes after 5000 bytes of body
        reset=True           whatever closes does so with RST instead of FIN
        silent=3.0           waits three seconds before the answer; silent="forever": never answers
        drip=1000            1000 bytes of body a second
        after_events=3       of a watch: gone, malformed, close, silent strike after three events
    """

    def __init__(self, call):
        self._call = call

    def add(self, **fault):
        """Adds a fault (see the class) and returns its number. The first fault that matches strikes."""
        return self._call("add_fault", fault=fault)

    def clear(self, number=None):
        """Forgets this fault, or all. Answers that a fault already holds up stay held up."""
        self._call("clear_faults", number=number)

    def list(self):
        """The faults as they were added, each with "number", and "struck": how often it did."""
        return self._call("list_faults")

    def struck(self, number):
        """How often this fault struck."""
        return next(fault["struck"] for fault in self.list() if fault["number"] == number)


class Methods:
    """What can be done to the server while it runs. Each call is done, all of it, when it returns."""

    def __init__(self, tokens=()):
        self.faults = Faults(self.call)
        self.tokens = list(tokens)
        self.address = None       # "127.0.0.1", or what it listens on
        self.port = None
        self.certificates = None  # a Certificates, if it speaks TLS: .ca, .client, .client_key, ...

    def call(self, method, **arguments):
        """Calls a control method by name; ServerError if it is refused."""
        answer = json.loads(self._ask(json.dumps({"method": method, "arguments": arguments}).encode() + b"\n"))
        if "error" in answer:
            raise ServerError(f"{method}: {answer['error']}")
        return answer["result"]

    def _ask(self, line):
        raise NotImplementedError

    @property
    def url(self):
        """Where it is: "https://127.0.0.1:40123"."""
        scheme = "https" if self.certificates else "http"
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{scheme}://{host}:{self.port}"

    def reset(self):
        """As if just started, with no objects, tokens, faults, settings and connections: for the next test."""
        self.call("reset")
        self.tokens = []

    # Objects.

    def put(self, obj):
        """Creates or replaces an object (a dict with "kind") and returns it as stored: with uid,
        creationTimestamp and a new resourceVersion. Watches see ADDED or MODIFIED at once."""
        return self.call("put", obj=obj)

    def put_all(self, objects):
        """Many `put`, in one call. Returns the last resourceVersion."""
        return self.call("put_all", objects=list(objects))

    def delete(self, resource, name, namespace=None):
        """Deletes an object: watches see DELETED with its last state. An error if there is none."""
        return self.call("delete", resource=resource, name=name, namespace=namespace)

    def delete_all(self, resource):
        """Deletes each object of a resource. Returns how many there were."""
        return self.call("delete_all", resource=resource)

    def replay(self, events):
        """Applies recorded watch events (dicts, or the path of a .jsonl) with the resourceVersions that
        are in them; they must ascend. BOOKMARK and ERROR events are left out. Returns how many it were."""
        if isinstance(events, (str, pathlib.Path)):
            with open(events, encoding="utf-8") as lines:
                events = [json.loads(line) for line in lines]
        return self.call("replay", events=list(events))

    def get(self, resource, name, namespace=None):
        """One object, or None."""
        return self.call("get", resource=resource, name=name, namespace=namespace)

    def objects(self, resource):
        """All objects of a resource, in the order of lists."""
        return self.call("objects", resource=resource)

    def count(self, resource):
        return self.call("count", resource=resource)

    def load(self, *paths):
        """Reads files as the API server serves lists (fixtures, generate.py) without telling
        watches: the history begins here. The objects keep their resourceVersions. Returns how many."""
        return self.call("load", paths=[str(pathlib.Path(path).resolve()) for path in paths])

    @property
    def resource_version(self):
        """The resourceVersion of the last write, a number."""
        return self.call("resource_version")

    def posted_events(self):
        """The Events (events.k8s.io/v1) that clients have posted, the oldest first."""
        return self.objects("events")

    # History.

    def compact(self):
        """Forgets the history up to now: a watch from an earlier resourceVersion, a page of an earlier
        list and a list at exactly an earlier one are answered 410. Open watches go on."""
        self.call("compact")

    def come_back(self, lose=0.5, backwards=False):
        """As after a restore: drops all connections, loses this share of the objects of each resource
        without an event, and forgets the history. Versions go on, or, backwards, are lower than before.
        Returns how many objects are left of each resource."""
        return self.call("come_back", lose=lose, backwards=backwards)

    # Watches and connections.

    def watches(self, resource=None):
        """Open watches: dicts with resource, number (of the request), version, events, user."""
        return self.call("watches", resource=resource)

    def bookmark(self, resource=None):
        """Sends a BOOKMARK with the newest resourceVersion to all watches that allow it, now."""
        return self.call("bookmark", resource=resource)

    def drop_watches(self, resource=None, how="end"):
        """Ends open watches: "end" in order, with the last chunk; "unfinished": the connection is closed
        without it; "mid-object": after half an event; "reset": with RST; "gone": with an ERROR event,
        code 410, and in order. Returns how many."""
        return self.call("drop_watches", resource=resource, how=how)

    def freeze_watches(self, resource=None):
        """Sends nothing to the watches that are open now, not even what happens, until thaw_watches."""
        return self.call("freeze_watches", resource=resource, frozen=True)

    def thaw_watches(self, resource=None):
        """Frozen watches get what they have missed, and go on."""
        return self.call("freeze_watches", resource=resource, frozen=False)

    def send_to_watches(self, line, resource=None):
        """Sends this, a dict or just text, as one event to the open watches. Returns how many."""
        text = line if isinstance(line, str) else json.dumps(line, separators=(",", ":"))
        return self.call("send_to_watches", text=text + "\n", resource=resource)

    def stop_listening(self, seconds=None, drop=True):
        """Refuses new connections, and drops the open ones, until start_listening or for a time."""
        self.call("stop_listening", seconds=seconds, drop=drop)

    def start_listening(self):
        self.call("start_listening")

    def accept(self, how):
        """What happens to new connections: "serve"; "close": closed at once; "hang": accepted, and not a
        byte is read or sent, not even for TLS."""
        self.call("accept", how=how)

    def drop_connections(self, reset=False):
        """Closes every connection. Returns how many."""
        return self.call("drop_connections", reset=reset)

    def renew_certificate(self, certificates=None):
        """Shows another server certificate to new connections: this one, or read again from its files."""
        if certificates:
            self.certificates = certificates
        paths = [str(self.certificates.server), str(self.certificates.server_key)]
        self.call("renew_certificate", certificate=paths[0], key=paths[1])

    # Who may do what.

    def set_tokens(self, tokens):
        """The bearer tokens that are valid from now on: a list, or a dict of token to user name; users may
        read, "kubernetes-admin" may do everything. With none (and without client certificates) everybody
        may do everything."""
        if not isinstance(tokens, dict):
            tokens = {token: None for token in tokens}
        self.call("set_tokens", tokens=tokens)
        self.tokens = list(tokens)

    def forbid(self, resource, *verbs):
        """403 for these verbs of a resource, or for all: list, watch, get, create."""
        self.call("forbid", resource=resource, verbs=list(verbs))

    def permit(self, resource, *verbs):
        """Takes `forbid` back."""
        self.call("permit", resource=resource, verbs=list(verbs))

    # How it behaves.

    def set(self, **settings):
        """Changes settings (see settings.py for the defaults):
        slice_versions=["v1"]     versions of discovery.k8s.io that exist: of v1, v1beta1; [] for none
        servicecidrs=True         whether networking.k8s.io/v1 servicecidrs exist
        streaming_lists="on"      sendInitialEvents: "on", "invalid" (422, as without the feature gate), or
                                  "ignored" (as if it had not been asked)
        bookmark_seconds=60       how often bookmarks are sent, besides one just before a watch's timeout
        watch_seconds=1800        when a watch ends that names no timeoutSeconds
        gone="event"              how a watch of compacted history is answered: "event" or "status"
        gzip_over=131072          compresses longer answers
        future_seconds=0.1        how long a list of a future resourceVersion waits before its 504
        ready=True                /readyz and /healthz answer 200, else 500
        version="v1.20.2"         what /version says
        """
        self.call("set", settings=settings)

    # What happened.

    def requests(self, resource=None, verb=None, since=0):
        """The log of requests, the oldest first, of those with a number above `since`: dicts with number,
        time_ns (CLOCK_MONOTONIC), method, path, query (dict), headers (dict, names in lower case), verb,
        resource, user, connection (a number), status (None: not answered yet), fault (number or None)."""
        return self.call("requests", resource=resource, verb=verb, since=since)

    def wait_for_request(self, resource=None, verb=None, since=0, count=1, deadline=DEADLINE):
        """Waits until there are so many requests (as above) and returns them."""
        def enough():
            found = self.requests(resource, verb, since)
            return found if len(found) >= count else None
        return wait_for(enough, f"{count} x {verb or 'any'} of {resource or 'anything'}", deadline)

    def wait_for_watch(self, *resources, deadline=DEADLINE):
        """Waits until each of these resources has an open watch, and returns one of each."""
        def open_watches():
            found = {watch["resource"]: watch for watch in self.watches()}
            return [found[name] for name in resources] if found.keys() >= set(resources) else None
        return wait_for(open_watches, f"watches of {', '.join(resources)}", deadline)

    def writes(self, since=0):
        """The history after this resourceVersion, the oldest first: lists [resourceVersion, type,
        resource, "namespace/name", time_ns], where time_ns (CLOCK_MONOTONIC) is when it was written and
        handed to the watches. compact() and load() forget it."""
        return self.call("writes", since=since)

    # A load of changes.

    def start_changes(self, rate, count=None, seconds=None, seed=1):
        """Starts to change slices: `rate` times a second a random endpoint of a random slice becomes
        ready or not ready. Ends after `count` changes or `seconds`, or at stop_changes()."""
        self.call("start_changes", rate=rate, count=count, seconds=seconds, seed=seed)

    def changes(self):
        """How the load is doing: dict of running, done (how many), seconds, first_version, last_version,
        late (seconds behind the rate at worst)."""
        return self.call("changes")

    def stop_changes(self):
        """Ends the load and returns what changes() would."""
        return self.call("stop_changes")

    def finish_changes(self, deadline=DEADLINE):
        """Waits for the end of a load with count or seconds, and returns what changes() would."""
        return wait_for(lambda: (lambda now: None if now["running"] else now)(self.changes()),
                        "the end of the load", deadline)


def wait_for(condition, what, deadline):
    until = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise TimeoutError(f"no {what} within {deadline:g} s")
        time.sleep(0.005)


class ApiServer(Methods):
    """The server as a thread of this process. `listener`: a listening socket that is bound already."""

    def __init__(self, listen="127.0.0.1:0", tls=False, tokens=(), client_certificates=False,
                 load=(), listener=None, **settings):
        super().__init__(tokens)
        self._made = {"listen": listen, "tls": tls, "tokens": tokens, "load": load,
                      "client_certificates": client_certificates, "listener": listener,
                      "settings": settings}
        self._runner = self._folder = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        from .control import Runner
        made = self._made
        if made["tls"]:
            self._folder = None if isinstance(made["tls"], Certificates) else make_folder()
            self.certificates = made["tls"] if not self._folder else Certificates(self._folder)
        self._runner = Runner()
        try:
            self.address, self.port = self._runner.start(
                made["listen"], made["listener"], self.certificates, made["client_certificates"])
            configure(self, made)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        if self._runner:
            self._runner.stop()
            self._runner = None
        if self._folder:
            shutil.rmtree(self._folder)
            self._folder = None

    def _ask(self, line):
        return self._runner.reply(line)


class ApiServerProcess(Methods):
    """The server as a process, driven through a unix socket in a folder of its own below /tmp. It ends
    with this process, however that ends.

    listen    "ADDRESS:PORT" ("[::1]:6443"), with port 0 any that is free
    netns     a network namespace to run in: a path, or a name below /run/netns
    tls       True: makes a CA, a server and a client certificate, `.certificates`, for 127.0.0.1, ::1,
              localhost and the address of `listen`; or a Certificates that exists
    tokens    as set_tokens(); `.tokens` is always the list of those that are valid
    client_certificates   a client certificate of the CA is an identity: its common name is the user
    load      files for load()
    Other arguments are settings for set().
    """

    def __init__(self, listen="127.0.0.1:0", netns=None, tls=False, tokens=(), client_certificates=False,
                 load=(), **settings):
        super().__init__(tokens)
        self._made = {"listen": listen, "tls": tls, "tokens": tokens, "load": load,
                      "client_certificates": client_certificates, "settings": settings}
        self._netns = netns
        self._lock = threading.Lock()
        self._process = self._folder = self._socket = self._lines = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self._process.pid

    @property
    def control_path(self):
        """The control socket, for others that want to drive the server too."""
        return self._folder / "control"

    def start(self, lists=()):
        """Starts the process; returns when it serves. `lists`: what is in files like those of load()."""
        made = self._made
        self._folder = make_folder()
        try:
            self._start_process(made, self._write_lists(lists))
            self._connect()
            configure(self, made)
        except BaseException:
            self.stop()
            raise

    def restart(self):
        """Ends the process as SIGKILL does, and starts it anew on the same port with the objects that it
        had: history, faults and settings are those of the beginning."""
        version, lists = self.resource_version, []
        for resource in RESOURCES.values():
            objects = self.objects(resource.name)
            if objects:
                lists.append({"kind": f"{resource.kind}List", "apiVersion": objects[0]["apiVersion"],
                              "metadata": {"resourceVersion": str(version)}, "items": objects})
        host = f"[{self.address}]" if ":" in self.address else self.address
        self._made |= {"listen": f"{host}:{self.port}", "load": (), "tokens": self.tokens}
        if self.certificates and self.certificates.folder == self._folder:
            raise ValueError("a server that made its own certificates cannot restart: give it some")
        self.kill()
        self.stop()
        self.start(lists)

    def _write_lists(self, lists):
        paths = []
        for number, made in enumerate(lists):
            paths.append(self._folder / f"list-{number}.json")
            paths[-1].write_text(json.dumps(made, separators=(",", ":")), encoding="utf-8")
        return paths

    def _start_process(self, made, lists):
        command = [sys.executable, "-m", PACKAGE.name, "--listen", made["listen"],
                   "--control", str(self.control_path), "--end-with-stdin"]
        if made["tls"]:
            existing = isinstance(made["tls"], Certificates)
            address = made["listen"].rpartition(":")[0].strip("[]")
            self.certificates = made["tls"] if existing else Certificates(self._folder, address)
            command += ["--certificates", str(self.certificates.folder)]
            if made["client_certificates"]:
                command.append("--client-certificates")
        if lists:
            command += ["--load", *map(str, lists)]
        if self._netns:
            path = self._netns if "/" in str(self._netns) else f"/run/netns/{self._netns}"
            command = ["nsenter", f"--net={path}", *command]
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(command, cwd=PACKAGE.parent, stdin=subprocess.PIPE,
                                             stdout=log, stderr=log)

    def _connect(self):
        def connected():
            if self._process.poll() is not None:
                raise ServerError(f"the server ended at once: {self.log()}")
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(str(self.control_path))
            except OSError:
                sock.close()
                return None
            return sock
        self._socket = wait_for(connected, "control socket", DEADLINE)
        self._lines = self._socket.makefile("rb")
        self.address, self.port = self.call("where")

    def stop(self):
        """Ends the process and removes its folder."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for thing in (self._lines, self._socket, self._process and self._process.stdin):
            if thing:
                thing.close()
        if self._folder:
            shutil.rmtree(self._folder)
        self._process = self._folder = self._socket = self._lines = None

    def kill(self):
        """Ends the process as SIGKILL does; stop() is still needed."""
        self._process.kill()
        self._process.wait()

    def log(self):
        """What the process has written, which is nothing unless it failed."""
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "log").read_text(errors="replace")
        return ""

    def _ask(self, line):
        with self._lock:
            self._socket.sendall(line)
            answer = self._lines.readline()
        if not answer:
            raise ServerError(f"the server is gone: {self.log()}")
        return answer


def make_folder():
    return pathlib.Path(tempfile.mkdtemp(prefix="fl-apiserver-"))


def configure(server, made):
    if made["settings"]:
        server.set(**made["settings"])
    if made["tokens"]:
        server.set_tokens(made["tokens"])
    if made["load"]:
        server.load(*made["load"])
