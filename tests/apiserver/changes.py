# SPDX-License-Identifier: BSD-2-Clause
"""A load of changes: random endpoints become ready and not ready, at a given rate."""

import asyncio
import datetime
import random
import time

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
TICK = 0.001


class Changes:
    def __init__(self, store, rate, count, seconds, seed):
        if not store.objects["endpointslices"]:
            raise ValueError("there are no endpointslices to change: load some first")
        if rate <= 0:
            raise ValueError(f"a rate is a positive number of changes a second, not {rate}")
        self.store, self.rate, self.count, self.seconds = store, rate, count, seconds
        self.random = random.Random(seed)
        self.keys = sorted(store.objects["endpointslices"])
        self.begun = self.ended = None
        self.done, self.late = 0, 0.0
        self.first = self.last = None
        self.task = asyncio.get_running_loop().create_task(self.run())

    def describe(self):
        end = self.ended or time.monotonic()
        return {"running": self.ended is None, "done": self.done,
                "seconds": end - self.begun if self.begun else 0.0,
                "first_version": self.first, "last_version": self.last, "late": self.late}

    async def run(self):
        self.begun = time.monotonic()
        try:
            while not self.is_over():
                due = self.begun + self.done / self.rate
                now = time.monotonic()
                if now < due:
                    await asyncio.sleep(max(TICK, due - now))
                    continue
                self.late = max(self.late, now - due)
                self.change()
                if self.done % 16 == 0:  # a backlog must not keep the watches from being served
                    await asyncio.sleep(0)
        finally:
            self.ended = time.monotonic()

    def is_over(self):
        return (self.count is not None and self.done >= self.count
                or self.seconds is not None and time.monotonic() - self.begun >= self.seconds)

    def stop(self):
        self.task.cancel()
        self.ended = self.ended or time.monotonic()

    def change(self):
        """Changes one endpoint of one slice; slices without any, and those deleted since, are passed over."""
        self.done += 1
        stored = self.store.get("endpointslices", self.random.choice(self.keys))
        obj = stored and stored.object()
        if not obj or not obj.get("endpoints"):
            return
        conditions = self.random.choice(obj["endpoints"]).setdefault("conditions", {})
        conditions["ready"] = not conditions.get("ready", True)
        if "serving" in conditions:
            conditions["serving"] = conditions["ready"]
        metadata = obj["metadata"]
        metadata["generation"] = metadata.get("generation", 0) + 1
        now = datetime.datetime.now(datetime.timezone.utc)
        metadata.setdefault("annotations", {})[TRIGGER_TIME] = now.isoformat().replace("+00:00", "Z")
        self.last = self.store.put(obj).version
        self.first = self.first or self.last
