# SPDX-License-Identifier: BSD-2-Clause
"""The server: takes requests from connections, logs them, lets faults strike, answers, keeps watches."""

import asyncio
import time

from . import statuses
from .api import ANONYMOUS, Access, Api, Target
from .http import FLOW_SCHEMA, PRIORITY_LEVEL, Output
from .script import Script
from .settings import Settings
from .statuses import Answer, Refused
from .store import Store, dump
from .watch import Watch

# Of the recorded server, for users and for anonymous ones.
FLOW = {FLOW_SCHEMA: "f1ecfa23-c809-4de1-996d-e68ebe294706",
        PRIORITY_LEVEL: "7b328127-b00f-4c37-bd11-66e9528b5ab4"}
ANONYMOUS_FLOW = {FLOW_SCHEMA: "136c5cd7-01ea-49ef-a2b6-665713583fe8",
                  PRIORITY_LEVEL: "ccb770d7-9754-4e91-bf89-d88ec06ab591"}
REQUESTS = 100000  # that are remembered


class Server:
    def __init__(self):
        self.settings, self.script, self.access = Settings(), Script(), Access()
        self.store = Store(self.tell_watches)
        self.api = Api(self.store, self.settings)
        self.connections, self.watches, self.requests = set(), {}, []
        self.request_count = 0

    def tell_watches(self, change):
        for watch in self.watches.values():
            if watch.wanted.resource is change.now.resource:
                watch.offer(change)

    def watches_of(self, resource):
        return [watch for watch in self.watches.values() if resource in (None, watch.wanted.resource.name)]

    # One request.

    async def handle(self, connection, request):
        target = Target(request)
        entry = self.log(connection, request, target)
        fault = self.script.strike(target.verb, target.resource_name, request)
        entry["fault"] = fault.get("number")
        output = Output(connection, fault)
        if "after_events" not in fault or target.verb != "watch":
            if fault.get("silent"):
                await asyncio.sleep(1e9 if fault["silent"] == "forever" else fault["silent"])
            if fault.get("close") == "now":
                await output.close()
        try:
            user = entry["user"] = self.access.user(request, connection.peer)
            if "status" in fault:
                raise Refused(self.scripted(fault, user, request, target))
            self.access.check(user, target, request)
            if target.verb == "watch":
                await self.watch(entry, request, target, output)
                return
            answer = await self.answer(request, target, fault)
        except Refused as refused:
            answer = refused.answer
        await self.send(entry, request, target, answer, output)

    def log(self, connection, request, target):
        self.request_count += 1
        entry = {"number": self.request_count, "time_ns": time.monotonic_ns(), "method": request.method,
                 "path": request.path, "query": request.query, "headers": request.headers,
                 "verb": target.verb, "resource": target.resource_name, "user": None,
                 "connection": connection.number, "status": None, "fault": None}
        self.requests.append(entry)
        if len(self.requests) > REQUESTS:
            del self.requests[:REQUESTS // 2]
        return entry

    async def answer(self, request, target, fault):
        if target.verb == "path":
            return self.api.path(request)
        if target.verb != "list":
            return self.api.one(request, target)
        if fault.get("gone"):
            raise Refused(self.scripted({"status": 410}, None, request, target))
        wanted = self.api.wanted(request, target)
        if wanted.version > self.store.revision:
            await asyncio.sleep(self.settings.future_seconds)
            if wanted.version > self.store.revision:
                raise Refused(statuses.version_of_the_future(wanted.version, self.store.revision))
        answer = self.api.list(request, target, empty=fault.get("empty", False))
        if fault.get("malformed"):
            middle = len(answer.body) // 2
            answer.body = answer.body[:middle] + b'"]}' + answer.body[middle:]
        return answer

    async def send(self, entry, request, target, answer, output):
        entry["status"] = answer.status
        headers = {"Cache-Control": "no-cache, private"} | answer.headers
        if target.verb != "watch" and answer.status not in (401, 429):
            headers |= ANONYMOUS_FLOW if entry["user"] == ANONYMOUS else FLOW
        packed = (answer.status == 200 and len(answer.body) > self.settings.gzip_over
                  and "gzip" in request.headers.get("accept-encoding", ""))
        await output.whole(answer.status, headers, answer.body, packed)

    def scripted(self, fault, user, request, target):
        """The answer of a fault with a status."""
        code = fault["status"]
        if "body" in fault:
            answer = Answer(code, fault["body"].encode())
        else:
            answer = self.recorded(code, user, request, target)
        answer.headers |= fault.get("headers", {})
        return answer

    def recorded(self, code, user, request, target):
        token, asked = request.query.get("continue"), request.query.get("resourceVersion", "")
        version = max(int(asked) if asked.isdecimal() else 0, self.store.revision + 1000)
        known = {
            401: statuses.unauthorized, 404: statuses.no_such_resource, 406: statuses.not_acceptable,
            403: lambda: self.access.refusal(user, target) if target.resource_name
            else statuses.forbidden_path(user, request.path),
            410: lambda: self.api.expired(token) if token else statuses.list_gone(),
            429: statuses.too_many_requests, 500: statuses.etcd_stuck,
            503: lambda: statuses.failure(503, "the server is currently unable to handle the request",
                                          "ServiceUnavailable"),
            504: lambda: statuses.version_of_the_future(version, self.store.revision)}
        return known.get(code, lambda: statuses.failure(
            code, f"an error on the server has prevented the request from succeeding ({code})",
            "InternalError"))()

    # Watches.

    async def watch(self, entry, request, target, output):
        if output.fault.get("gone") == "status":
            raise Refused(self.gone_answer(self.store.revision - 1))
        wanted = self.api.wanted(request, target)
        watch = Watch(entry["number"], entry["user"], wanted, self.store, self.settings)
        if not watch.begin():
            if self.settings.gone == "status":
                raise Refused(self.gone_answer(wanted.version))
            watch.error(statuses.watch_gone(wanted.version, self.store.floor[wanted.resource.name]))
            watch.ending = "end"
        self.watches[watch.number] = watch
        entry["status"] = 200
        try:
            await output.head(200, {"Cache-Control": "no-cache, private", "Content-Type": "application/json"},
                              "Transfer-Encoding: chunked")
            await watch.run(output)
        finally:
            del self.watches[watch.number]

    def gone_answer(self, version):
        return Answer(410, dump(statuses.watch_gone(version, self.store.revision)) + b"\n")
