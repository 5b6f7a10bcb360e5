# SPDX-License-Identifier: BSD-2-Clause
"""An agent that watches an API server with a shape in it: how fast it follows, and what it costs.

All times are CLOCK_MONOTONIC of one machine: the server notes when it hands a write to its watches, the agent
notes in its pinned `agent_status` when its last publish was complete and how long after its wake-up.
"""

import ctypes
import datetime
import mmap
import os
import pathlib
import random
import re
import struct
import time

from apiserver.client import ApiServerProcess
from kube import KubeAgent, kubeconfig
from lab import Lab, address_of, wait_for
from programs import BPF_MAP_LOOKUP_ELEM, BPF_OBJ_GET, bpf
from shapes import service_of

STATUS_SIZE = 752    # struct agent_status
SERVICE_SIZE = 24    # struct service; its first word is the slot_range that a change swings
POLL = 0.0001        # seconds between two looks
PATIENCE = 60.0
PROBE_EVERY = 0.05   # seconds between two probes under load
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


def open_pinned(path):
    text = ctypes.create_string_buffer(str(path).encode())
    return bpf(BPF_OBJ_GET, struct.pack("<QI", ctypes.addressof(text), 0))


class Status:
    """The agent's pinned status."""

    def __init__(self, agent):
        self.descriptor = open_pinned(agent.pin_dir / "agent_status")
        self.key, self.value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(STATUS_SIZE)
        self.request = struct.pack("<IIQQQ", self.descriptor, 0, ctypes.addressof(self.key),
                                   ctypes.addressof(self.value), 0)

    def read(self):
        """dict of synced_ns, last_ns, took_ns, publishes."""
        bpf(BPF_MAP_LOOKUP_ELEM, self.request)
        synced, last, took, publishes = struct.unpack_from("<4Q", self.value, 16)
        return {"synced_ns": synced, "last_ns": last, "took_ns": took, "publishes": publishes}

    def close(self):
        os.close(self.descriptor)


class SlotWord:
    """The slot_range word of one service port, as the datapath reads it."""

    def __init__(self, agent, number):
        descriptor = open_pinned(agent.pin_dir / "services")
        pages = -(-(number + 1) * SERVICE_SIZE // mmap.PAGESIZE) * mmap.PAGESIZE
        self.memory = mmap.mmap(descriptor, pages, mmap.MAP_SHARED, mmap.PROT_READ)
        os.close(descriptor)
        self.offset = number * SERVICE_SIZE

    def read(self):
        return self.memory[self.offset:self.offset + 8]


class Process:
    """What /proc says of a process."""

    def __init__(self, pid):
        self.folder = pathlib.Path("/proc") / str(pid)

    def cpu_ns(self):
        return int((self.folder / "schedstat").read_text(encoding="ascii").split()[0])

    def memory(self):
        """MiB."""
        lines = (self.folder / "status").read_text(encoding="ascii").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.endswith(" kB")}
        names = {"rss": "VmRSS", "anon": "RssAnon", "file": "RssFile", "shmem": "RssShmem", "peak": "VmHWM"}
        return {name: sizes[field] for name, field in names.items()}


def distribution(values):
    """Median, 99th percentile and the worst of many, sorted."""
    values = sorted(values)
    return {"count": len(values), "median": values[len(values) // 2],
            "p99": values[min(len(values) - 1, len(values) * 99 // 100)], "max": values[-1]}


def log_time(lines, pattern):
    """When the last line that matches was written, in seconds; None if there is none."""
    found = [line for line in lines if re.search(pattern, line)]
    if not found:
        return None
    return datetime.datetime.strptime(found[-1][1:21], "%m%d %H:%M:%S.%f").timestamp()


class Scale:
    """`with Scale(shape, program) as scale:` a lab, a server that has the lists, and no agent yet."""

    def __init__(self, shape, program, tls=True):
        self.shape, self.program, self.tls = shape, program, tls
        self.lab = Lab()
        self.server = self.agent = self.status = None

    def __enter__(self):
        self.lab.__enter__()
        try:
            self.server = ApiServerProcess(listen=f"{address_of('wire', 4)}:6443", tls=self.tls,
                                           netns=f"/run/netns/{self.lab.id}-wire", tokens=["secret"])
            self.server.start()
            self.server.load(*self.shape.lists)
            self.server.put({"kind": "Node", "metadata": {"name": "node1"}})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.status:
            self.status.close()
        if self.agent and self.agent.running():
            self.agent.stop()
        if self.server:
            self.server.stop()
        self.lab.__exit__()

    def start(self):
        """Starts the agent; seconds from the list's first byte to each step, and to all."""
        self.agent = KubeAgent(self.lab, "node1", kubeconfig(self.server), "-v", "3",
                               program=str(self.program))
        before = Process(self.server.pid).cpu_ns()
        self.agent.start(ready=False)
        self.agent.wait_for_log("ready: ", 120)
        cpu = Process(self.agent.process.pid).cpu_ns()
        server_cpu = Process(self.server.pid).cpu_ns() - before
        self.status = Status(self.agent)
        log = list(self.agent.log)
        marks = {"listed": "state is complete", "loaded": "programs are loaded",
                 "hooked": "links are hooked", "ready": " ready: "}
        begun = min(filter(None, (log_time(log, f"the list of {name} begins")
                                  for name in ("services", "endpointslices"))))
        found = {name: log_time(log, pattern) for name, pattern in marks.items()}
        loading = re.search(r"programs are loaded, in (\d+) ms", self.agent.text())
        return {"total_s": found["ready"] - begun, "list_s": found["listed"] - begun,
                "programs_s": int(loading[1]) / 1000,
                "agent_cpu_s": cpu / 1e9, "server_cpu_s": server_cpu / 1e9,
                "service_ports": int(re.search(r"ready: (\d+) service ports", self.agent.text())[1])}

    def memory(self):
        return {**Process(self.agent.process.pid).memory(),
                "maps": self.agent.json("status")["map_bytes"] / 2**20}

    def idle_cpu(self, seconds):
        """Percent of one CPU while nothing happens."""
        process = Process(self.agent.process.pid)
        before, begun = process.cpu_ns(), time.monotonic_ns()
        time.sleep(seconds)
        return 100 * (process.cpu_ns() - before) / (time.monotonic_ns() - begun)

    # Changes.

    def changeable(self):
        """Slices that are served, without their lists' order: from all over the shape."""
        _, slices = self.shape.read()
        random.Random(1).shuffle(slices)
        return [item for item in slices if item["endpoints"]]

    @staticmethod
    def change(item, number):
        """The object with another address for the endpoint in the middle: a pod was replaced."""
        endpoint = item["endpoints"][len(item["endpoints"]) // 2]
        endpoint["addresses"] = [f"10.{250 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"]
        endpoint["conditions"] = {"ready": True, "serving": True, "terminating": False}
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        item["metadata"].setdefault("annotations", {})[TRIGGER_TIME] = now.replace("+00:00", "Z")
        return {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", **item}

    def single_changes(self, count, pause=0.002):
        """One endpoint replaced, `count` times, each in another Service: microseconds."""
        slices, arrivals, published = self.changeable(), [], []
        since = self.server.resource_version
        for number in range(count):
            before = self.status.read()["publishes"]
            self.server.put(self.change(slices[number % len(slices)], number))
            now = self.wait_for_publish(before)
            arrivals.append(now["took_ns"] / 1000)
            published.append(now["last_ns"])
            time.sleep(pause)
        writes = [entry[4] for entry in self.server.writes(since) if entry[2] == "endpointslices"]
        assert len(writes) == count, "the server has not written what it was told"
        return {"arrival_us": distribution(arrivals),
                "write_us": distribution([(last - write) / 1000 for last, write in zip(published, writes)])}

    def wait_for_publish(self, before):
        def published():
            now = self.status.read()
            return now if now["publishes"] > before else None
        return wait_for(published, "a publish", PATIENCE, POLL)

    def load(self, rate, seconds):
        """Random changes at a rate; what lags is measured on one more Service that changes now and then."""
        item = self.changeable()[0]
        namespace, _, name = service_of(item).partition("/")
        row = next(row for row in self.agent.json("services", f"{namespace}/{name}") if row["programmed"])
        word, sent, seen, slowest = SlotWord(self.agent, row["id"]), [], [], 0
        agent, server = Process(self.agent.process.pid), Process(self.server.pid)
        publishes, since = self.status.read()["publishes"], self.server.resource_version
        cpu, begun = (agent.cpu_ns(), server.cpu_ns()), time.monotonic()
        self.server.start_changes(rate, seconds=seconds)
        number = 1 << 16
        while time.monotonic() - begun < seconds:
            before = word.read()
            number += 1
            changed = self.server.put(self.change(item, number))
            sent.append(int(changed["metadata"]["resourceVersion"]))
            wait_for(lambda held=before: word.read() != held, "a change under load", PATIENCE, POLL)
            seen.append(time.monotonic_ns())
            slowest = max(slowest, self.status.read()["took_ns"])
            time.sleep(PROBE_EVERY)
        took = time.monotonic() - begun
        agent_cpu, server_cpu = agent.cpu_ns() - cpu[0], server.cpu_ns() - cpu[1]
        publishes = self.status.read()["publishes"] - publishes
        done = self.server.finish_changes(PATIENCE)
        written = {entry[0]: entry[4] for entry in self.server.writes(since)}
        lags = [(at - written[version]) / 1e6 for version, at in zip(sent, seen)]
        return {"rate": done["done"] / done["seconds"], "server_late_s": done["late"],
                "lag_ms": distribution(lags), "slowest_publish_seen_us": slowest / 1000,
                "publishes": publishes, "agent_cpu_percent": agent_cpu / took / 1e7,
                "server_cpu_percent": server_cpu / took / 1e7}
