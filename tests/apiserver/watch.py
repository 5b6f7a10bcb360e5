# SPDX-License-Identifier: BSD-2-Clause
"""One open watch: what it has been offered, and the task that sends it."""

import asyncio
import random

from .store import dump, event_line
from .statuses import watch_gone

MALFORMED = b'{"type":"MODIFIED","object":{"kind":"Service","metadata":{"name":"broken,"spec":{]}\n'
BATCH = 500                  # events that are sent as one flush
SLOWEST = 256 * 1024 * 1024  # bytes that may wait for a client; then the watch is ended


class Watch:
    def __init__(self, number, user, wanted, store, settings):
        """`wanted`: what was asked for, see api.Wanted."""
        self.number, self.user, self.wanted, self.store = number, user, wanted, store
        self.settings = settings
        self.version, self.events, self.waiting = 0, 0, 0
        self.pending, self.wake = [], asyncio.Event()
        self.frozen, self.ending = False, None

    def describe(self):
        return {"resource": self.wanted.resource.name, "number": self.number, "version": self.version,
                "events": self.events, "user": self.user}

    # What is to be sent.

    def begin(self):
        """Queues what the watch begins with. False if its version is compacted."""
        wanted, store, name = self.wanted, self.store, self.wanted.resource.name
        if wanted.initial:
            # As objects, which become lines when they are sent: so it begins at once, however many.
            self.pending = [stored for stored in random.sample(store.in_order(name), len(store.in_order(name)))
                            if not wanted.selects or wanted.selects(stored)]
            self.version = store.revision
            if wanted.announces_end:
                self.bookmark(store.revision, end=True)
            self.wake.set()
            return True
        if wanted.version < store.floor[name]:
            return False
        self.version = wanted.version
        for change in store.since(name, wanted.version):
            self.offer(change)
        return True

    def offer(self, change):
        if change.version <= self.version:
            return
        self.version = change.version
        line = change.line(self.wanted.selects, self.wanted.api)
        if line:
            self.queue(line)

    def queue(self, line):
        self.pending.append(line)
        self.waiting += len(line)
        if self.waiting > SLOWEST:
            self.end("end")
        if not self.frozen:
            self.wake.set()

    def bookmark(self, version, end=False):
        resource = self.wanted.resource
        annotations = ',"annotations":{"k8s.io/initial-events-end":"true"}' if end else ""
        self.version = max(self.version, version)
        self.queue((f'{{"type":"BOOKMARK","object":{{"kind":"{resource.kind}","apiVersion":'
                    f'"{resource.api_version(self.wanted.api)}","metadata":{{"resourceVersion":'
                    f'"{self.version}","creationTimestamp":null{annotations}}}{resource.bookmark}}}}}\n').encode())

    def regular_bookmark(self):
        self.bookmark(self.store.last[self.wanted.resource.name])

    def error(self, status):
        self.queue(event_line("ERROR", dump(status)))

    def gone(self):
        self.error(watch_gone(self.wanted.version, self.store.revision))

    def end(self, how):
        self.ending = self.ending or how
        self.wake.set()

    def freeze(self, frozen):
        self.frozen = frozen
        if not frozen:
            self.wake.set()

    # Sending it.

    async def run(self, output):
        """Sends until the end of the watch. `output`: see http.Output."""
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(self.wanted.seconds, self.end, "timeout")]
        if self.wanted.bookmarks:
            self.plan_bookmark(loop, timers)
        try:
            while await self.flush(output) and not self.ending:
                await self.wake.wait()
            if self.ending:
                await self.finish(output)
        finally:
            for timer in timers:
                timer.cancel()

    def plan_bookmark(self, loop, timers):
        def bookmark():
            self.regular_bookmark()
            timers[-1] = loop.call_later(self.settings.bookmark_seconds, bookmark)
        timers.append(loop.call_later(self.settings.bookmark_seconds, bookmark))

    async def flush(self, output):
        """Sends what is there. False if the watch is over."""
        self.wake.clear()
        while self.frozen:
            await self.wake.wait()
            self.wake.clear()
        lines = self.take(BATCH)
        if self.pending:
            self.wake.set()
        after = self.strikes_after(output.fault)
        if after is None or self.events + len(lines) < after + (output.fault.get("close") == "mid-object"):
            return await self.send(output, lines)
        return await self.strike(output, lines, max(0, after - self.events))

    def take(self, count):
        """The next lines."""
        taken = [line if isinstance(line, bytes) else event_line("ADDED", line.whole(self.wanted.api))
                 for line in self.pending[:count]]
        del self.pending[:count]
        if not self.pending:
            self.waiting = 0
        return taken

    @staticmethod
    def strikes_after(fault):
        """After how many events a fault strikes, None: it does not."""
        if "after_events" in fault:
            return fault["after_events"]
        return 0 if fault.keys() & {"gone", "malformed", "close"} else None

    async def send(self, output, lines):
        self.events += len(lines)
        return not lines or await output.events(lines)

    async def strike(self, output, lines, count):
        """Sends `count` events, and then does what the fault says."""
        fault, output.fault = output.fault, {**output.fault, "after_events": None}
        if not await self.send(output, lines[:count]):
            return False
        rest = lines[count:]
        if fault.get("silent"):
            await asyncio.sleep(1e9 if fault["silent"] == "forever" else fault["silent"])
        if fault.get("malformed"):
            await output.events([MALFORMED])
        if fault.get("gone"):
            self.pending.clear()
            self.gone()
            await self.send(output, self.take(None))
            self.ending = "end"
            return True
        if fault.get("close") == "mid-object":
            await output.half_an_event(rest[0] if rest else MALFORMED)
        if fault.get("close"):
            await output.close()
        return await self.send(output, rest)

    async def finish(self, output):
        if self.ending == "mid-object":
            self.regular_bookmark()
            await output.half_an_event(self.pending[-1])
        if self.ending in ("unfinished", "reset"):
            await output.connection.close(reset=self.ending == "reset")
        if self.ending == "gone":
            self.gone()
        if self.ending == "timeout" and self.wanted.bookmarks:
            self.regular_bookmark()
        await self.send(output, self.take(None))
        await output.end()
