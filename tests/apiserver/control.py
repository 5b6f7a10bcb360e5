# SPDX-License-Identifier: BSD-2-Clause
"""The control API: the methods of client.Methods, called by name, from a thread or through a unix socket.

On the socket each line is a request, {"method": "put", "arguments": {"obj": {...}}}, answered by a line,
{"result": ...} or {"error": "..."}. The arguments are those of the calls in client.py.
"""

import asyncio
import inspect
import json
import os
import threading

from .changes import Changes
from .http import Listener, tls_context
from .server import Server

LONGEST_LINE = 256 * 1024 * 1024


class Control:
    def __init__(self, server, listener, client_ca):
        self.server, self.listener, self.client_ca = server, listener, client_ca
        self.store = server.store
        self.load_running = None

    async def call(self, method, arguments):
        function = getattr(self, f"do_{method}", None)
        if function is None:
            raise ValueError(f'there is no method "{method}"')
        result = function(**arguments)
        return await result if inspect.isawaitable(result) else result

    def do_where(self):
        return list(self.listener.sock.getsockname()[:2])

    # Objects.

    def do_put(self, obj):
        return self.store.put(obj).object()

    def do_put_all(self, objects):
        for obj in objects:
            self.store.put(obj)
        return self.store.revision

    def do_delete(self, resource, name, namespace):
        self.store.delete(resource, "/".join(filter(None, (namespace, name))))

    def do_delete_all(self, resource):
        keys = list(self.store.objects[resource])
        for key in keys:
            self.store.delete(resource, key)
        return len(keys)

    def do_replay(self, events):
        return sum(self.store.replay(event) for event in events)

    def do_get(self, resource, name, namespace):
        stored = self.store.get(resource, "/".join(filter(None, (namespace, name))))
        return stored and stored.object()

    def do_objects(self, resource):
        return [stored.object() for stored in self.store.in_order(resource)]

    def do_count(self, resource):
        return len(self.store.objects[resource])

    def do_load(self, paths):
        return sum(self.store.load(path) for path in paths)

    def do_resource_version(self):
        return self.store.revision

    # History.

    def do_compact(self):
        self.store.compact()

    def do_come_back(self, lose, backwards):
        self.do_drop_connections(reset=False)
        return self.store.lose(lose, backwards)

    def do_writes(self, since):
        return [list(written) for written in self.store.written if written[0] > since]

    # Watches and connections.

    def do_watches(self, resource):
        return [watch.describe() for watch in self.server.watches_of(resource)]

    def do_bookmark(self, resource):
        for watch in self.server.watches_of(resource):
            if watch.wanted.bookmarks:
                watch.bookmark(self.store.revision)

    def do_drop_watches(self, resource, how):
        allowed = ("end", "unfinished", "mid-object", "reset", "gone")
        if how not in allowed:
            raise ValueError(f"a watch is dropped in one of the ways {', '.join(allowed)}, not {how!r}")
        watches = self.server.watches_of(resource)
        for watch in watches:
            watch.end(how)
        return len(watches)

    def do_freeze_watches(self, resource, frozen):
        for watch in self.server.watches_of(resource):
            watch.freeze(frozen)

    def do_send_to_watches(self, text, resource):
        watches = self.server.watches_of(resource)
        for watch in watches:
            watch.queue(text.encode())
        return len(watches)

    async def do_stop_listening(self, seconds, drop):
        await self.listener.stop()
        if drop:
            self.do_drop_connections(reset=False)
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self.listener.start)

    def do_start_listening(self):
        self.listener.start()

    def do_accept(self, how):
        if how not in ("serve", "close", "hang"):
            raise ValueError(f"connections are accepted to serve, close or hang, not {how!r}")
        self.listener.how = how

    def do_drop_connections(self, reset):
        connections = list(self.server.connections)
        for connection in connections:
            connection.close_now(reset)
        self.listener.forget_hanging()
        return len(connections)

    def do_renew_certificate(self, certificate, key):
        self.listener.context = tls_context(certificate, key, self.client_ca)

    # Access, settings, faults, the log.

    def do_set_tokens(self, tokens):
        self.server.access.tokens = tokens

    def do_forbid(self, resource, verbs):
        self.server.access.forbidden |= {(resource, verb) for verb in verbs or [None]}

    def do_permit(self, resource, verbs):
        gone = {(name, verb) for name, verb in self.server.access.forbidden
                if name == resource and (not verbs or verb in verbs)}
        self.server.access.forbidden -= gone

    def do_set(self, settings):
        self.server.settings.change(settings)

    def do_add_fault(self, fault):
        return self.server.script.add(fault)

    def do_clear_faults(self, number):
        self.server.script.clear(number)

    def do_list_faults(self):
        return self.server.script.list()

    def do_requests(self, resource, verb, since):
        return [entry for entry in self.server.requests if entry["number"] > since
                and resource in (None, entry["resource"]) and verb in (None, entry["verb"])]

    # A load of changes.

    def do_start_changes(self, rate, count, seconds, seed):
        self.do_stop_changes()
        self.load_running = Changes(self.store, rate, count, seconds, seed)

    def do_changes(self):
        return self.load_running and self.load_running.describe()

    def do_stop_changes(self):
        if self.load_running:
            self.load_running.stop()
        return self.do_changes()

    # The unix socket.

    async def serve(self, path):
        """Listens on a unix socket, for whoever may open it: its owner."""
        mask = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(self.conversation, path, limit=LONGEST_LINE)
        finally:
            os.umask(mask)

    async def conversation(self, reader, writer):
        try:
            while line := await reader.readline():
                writer.write(await self.reply(line))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def reply(self, line):
        try:
            request = json.loads(line)
            answer = {"result": await self.call(request["method"], request.get("arguments", {}))}
        except Exception as error:  # whatever it is, the caller is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def open_server(sock, certificates=None, client_certificates=False):
    """A server on a bound socket, with its control; to be called in the event loop."""
    server, context, client_ca = Server(), None, None
    if certificates:
        client_ca = str(certificates.ca) if client_certificates else None
        context = tls_context(str(certificates.server), str(certificates.server_key), client_ca)
        server.access.certificates = client_certificates
    listener = Listener(server, sock, context)
    listener.start()
    return Control(server, listener, client_ca)


class Runner:
    """An event loop in a thread, with a server in it."""

    def __init__(self):
        self.loop, self.control = asyncio.new_event_loop(), None
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def start(self, listen, listener, certificates, client_certificates):
        sock = listener or Listener.bind(listen)
        self.thread.start()
        self.control = self.run(open_coroutine(sock, certificates, client_certificates))
        return self.control.do_where()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def call(self, method, arguments):
        return self.run(self.control.call(method, arguments))

    def stop(self):
        if self.control:
            self.run(self.close())
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
        self.loop.close()

    async def close(self):
        await self.control.listener.stop()
        self.control.do_stop_changes()
        self.control.do_drop_connections(reset=False)
        self.control.listener.sock.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def open_coroutine(sock, certificates, client_certificates):
    return open_server(sock, certificates, client_certificates)
