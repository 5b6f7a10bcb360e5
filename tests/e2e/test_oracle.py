# SPDX-License-Identifier: BSD-2-Clause
"""Netfilter as the oracle: what survives there survives here.

Two equal labs, one with fairlead on its nodes, one with nft rules on node1 that do the same: destination
NAT to a backend by chance, masquerade towards the other node, and what conntrack calls invalid is dropped,
as kube-proxy has it. Timeouts are short, and alike. The same schedules run in both (schedules.py): clients
that talk, pause, close, come again; strangers that interfere (strangers.py). A schedule that ends here with
a step that succeeded there is run again, twice: if it ends early here twice of three times, and there never,
that is a failure.

FAIRLEAD_RANDOM_SECONDS is how long new schedules are begun (10), FAIRLEAD_ORACLE_SCHEDULES how many there
shall be instead. How packets are forwarded depends on the seed, or is FAIRLEAD_ORACLE_WAY. FAIRLEAD_SEED
repeats the schedules of another run, FAIRLEAD_ORACLE_ONLY=7,12 some of them.
"""

import collections
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time

import schedules
import uplinks
from lab import HERE, NODES, ROOT, Lab, address_of
from manifests import both_protocols, next_vip, node, service, slice_, slice_ports
from matrix import DSR, SOURCE_NAT, Way
from outside import route_services
from packets import link_address
from world import World

SECONDS = float(os.environ.get("FAIRLEAD_RANDOM_SECONDS") or 10)
COUNT = int(os.environ.get("FAIRLEAD_ORACLE_SCHEDULES") or 0)
ONLY = os.environ.get("FAIRLEAD_ORACLE_ONLY")
SEED = int(os.environ.get("FAIRLEAD_SEED") or random.SystemRandom().randrange(1 << 32))
WAYS = {str(way): way for way in (Way(SOURCE_NAT, "tc"), Way(SOURCE_NAT, "xdp"), Way(DSR, "tc"))}
WAY = WAYS[os.environ.get("FAIRLEAD_ORACLE_WAY") or random.Random(SEED).choice(sorted(WAYS))]
LOG = ROOT / "build" / "oracle.json"  # every difference, after a run
BATCH = 300
AT_ONCE = 300
PATIENCE, PATIENCE_EACH = 120, 0.2  # seconds, for a batch and for each of its schedules
AGAIN = 2

NODE, OUTSIDE = "node1", "client"
CLIENTS = tuple(dict.fromkeys(schedules.CLIENTS))
BACKENDS = {"here": ("pod1b", "pod1c"), "elsewhere": ("pod2b", "pod2c"),
            "everywhere": ("pod1b", "pod1c", "pod2b", "pod2c")}
SERVERS = BACKENDS["everywhere"]
VIPS = {name: {family: next_vip(family) for family in (4, 6)} for name in BACKENDS}

# Seconds: how long flows live in each state, by our name and conntrack's. A FIN that a client sends twice is to
# conntrack one of each side: hence what TIME_WAIT lasts.
OURS = {"tcp-new": 4, "tcp-established": 60, "tcp-closing": 8, "tcp-closed": 2, "udp-new": 4, "udp": 8}
NETFILTERS = {"tcp_timeout_syn_sent": 4, "tcp_timeout_syn_recv": 4, "tcp_timeout_established": 60,
              "tcp_timeout_fin_wait": 8, "tcp_timeout_close_wait": 8, "tcp_timeout_last_ack": 8,
              "tcp_timeout_time_wait": 8, "tcp_timeout_close": 2, "tcp_timeout_unacknowledged": 60,
              "tcp_timeout_max_retrans": 60, "udp_timeout": 4, "udp_timeout_stream": 8}


def rules():
    """The Services as kube-proxy's rules in mode nftables would have them, in a few lines."""
    lines = []
    for family, word in ((4, "ip"), (6, "ip6")):
        lines += [f"table {word} services {{", "chain in {",
                  "type nat hook prerouting priority dstnat;"]
        for name, places in BACKENDS.items():
            choices = ", ".join(f"{number} : {address_of(place, family)}" for number, place in enumerate(places))
            for proto in ("tcp", "udp"):
                lines.append(f"{word} daddr {VIPS[name][family]} {proto} dport 80 dnat to "
                             f"numgen random mod {len(places)} map {{ {choices} }} : 8080")
        lines += ["}", "chain out {", "type nat hook postrouting priority srcnat;",
                  'iifname "eth0" oifname "eth0" ct status dnat masquerade', "}", "chain checks {",
                  "type filter hook prerouting priority filter; ct state invalid drop", "}", "}"]
    return "\n".join(lines) + "\n"


def quiet_kernel(lab):
    """What would limit crowds of clients by itself."""
    for place in (*SERVERS, *CLIENTS):
        lab.place(place).run("sysctl", "-qw", "net.core.somaxconn=8192", "net.ipv4.tcp_max_syn_backlog=8192")


class NetfilterWorld:
    def __enter__(self):
        self.lab = Lab().__enter__()
        try:
            path = self.lab.directory / "rules.nft"
            path.write_text(rules(), encoding="ascii")
            self.place(NODE).run("nft", "-f", path)
            self.place(NODE).run("sysctl", "-qw", *(f"net.netfilter.nf_conntrack_{name}={value}"
                                                  for name, value in NETFILTERS.items()))
            quiet_kernel(self.lab)
        except BaseException:
            self.lab.down()
            raise
        return self

    def __exit__(self, *_):
        self.lab.__exit__()

    def place(self, name):
        return self.lab.place(name)


class FairleadWorld(World):
    def __init__(self):
        timeouts = [word for name, value in OURS.items() for word in ("--timeout", f"{name}={value}")]
        super().__init__("tc", *timeouts, *WAY.options(), serve=False, prepare=self.make_ready)

    @staticmethod
    def make_ready(lab):
        quiet_kernel(lab)
        if WAY.hook == "xdp":
            uplinks.prepare_for_xdp(lab)

    def __enter__(self):
        super().__enter__()
        try:
            self.publish(*(node(name) for name in NODES))
            for name, places in BACKENDS.items():
                for family in (4, 6):
                    self.publish(service(f"{name}{family}", VIPS[name][family], both_protocols(80, 8080)),
                                 slice_(f"{name}{family}", list(places), slice_ports(8080), family))
        except BaseException:
            self.lab.down()
            raise
        return self


def addresses(places):
    return {place: {family: address_of(place, family) for family in (4, 6)} for place in places}


class Driver:
    """Runs schedules in a world."""

    def __init__(self, world):
        self.lab = world.lab
        route_services(world, {family: address_of(NODE, family) for family in (4, 6)})
        self.setting = {
            "namespaces": {place: f"/run/netns/{self.lab.id}-{place}" for place in (*SERVERS, *CLIENTS)},
            "frontends": VIPS, "backends": BACKENDS, "clients": addresses(CLIENTS), "servers": addresses(SERVERS),
            "stranger": OUTSIDE, "stranger_mac": link_address(self.lab, OUTSIDE, "eth0"),
            "node_mac": link_address(self.lab, NODE, "eth0"), "at_once": AT_ONCE,
        }

    def begin(self, items):
        """Runs [(number, attempt)]; what it returns waits for {number/attempt: results}."""
        setting = {**self.setting, "schedules": [(SEED, *item) for item in items]}
        child = self.lab.keep(subprocess.Popen([sys.executable, HERE / "conversing.py"], text=True,
                                               stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        output = []

        def run():
            output.append(child.communicate(json.dumps(setting))[0])

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def finish():
            patience = PATIENCE + PATIENCE_EACH * len(items)
            thread.join(patience)
            assert output, f"{len(items)} schedules did not end within {patience:.0f} s"
            assert child.returncode == 0, f"the schedules ended with {child.returncode}"
            return json.loads(output[0])

        return finish


def ended(results):
    """At which step it ended; all steps where it did not."""
    good = [result in ("ok", "done") for result in results]
    return good.index(False) if False in good else len(results)


def run_both(drivers, items, tally):
    """{(number, attempt): (results here, results there)}"""
    waiting = [driver.begin(items) for driver in drivers]
    here, there = (finish() for finish in waiting)
    tally.lag = max(tally.lag, here["lag"], there["lag"])
    return {(number, attempt): (here[f"{number}/{attempt}"], there[f"{number}/{attempt}"])
            for number, attempt in items}


class Tally:
    def __init__(self):
        self.schedules, self.here, self.there = (collections.Counter() for _ in range(3))
        self.count = self.steps = 0
        self.lag = 0.0  # by how many seconds a driver was late at worst
        self.failures = []

    def add(self, runs):
        self.schedules.update(kind for (number, _) in runs for kind in schedules.schedule(SEED, number).kinds)
        self.count += len(runs)
        self.steps += sum(len(here) for here, _ in runs.values())

    def judge(self, number, runs):
        """All runs of one schedule: [(here, there)]"""
        schedule = schedules.schedule(SEED, number)
        early = [pair for pair in runs if ended(pair[0]) < ended(pair[1])]
        late = [pair for pair in runs if ended(pair[1]) < ended(pair[0])]
        if len(late) > len(runs) // 2:
            self.there[schedule.blamed(len(late[0][1]) - 1)] += 1
        if len(early) <= len(runs) // 2 or late:
            return
        here, there = early[0]
        blamed = schedule.blamed(len(here) - 1)
        self.here[blamed] += 1
        self.failures.append({"number": number, "blamed": blamed, "proto": schedule.proto,
                              "family": schedule.family, "client": schedule.client, "frontend": schedule.frontend,
                              "steps": schedule.steps, "here": here, "there": there})

    def text(self):
        rows = [f"{kind:<28}{self.schedules[kind]:>7}{self.here[kind]:>10}{self.there[kind]:>10}  {self.examples(kind)}"
                for kind in sorted(self.schedules)]
        return "\n".join([f"{self.count} schedules, {self.steps} steps, {len(self.failures)} ended here only; "
                          f"{WAY}, seed {SEED}",
                          f"a driver was late by {self.lag:.1f} s at worst",
                          f"{'kind':<28}{'run':>7}{'died here':>10}{'there':>10}  for example", *rows])

    def examples(self, kind):
        of_kind = [item for item in self.failures if item["blamed"] == kind]
        of_kind.sort(key=lambda item: len(item["steps"]))
        return ",".join(str(item["number"]) for item in of_kind[:4])

    def write(self):
        LOG.parent.mkdir(exist_ok=True)
        LOG.write_text(json.dumps({"seed": SEED, "failures": self.failures}, indent=1), encoding="utf-8")
        LOG.with_suffix(".txt").write_text(self.text() + "\n", encoding="utf-8")


def tell(number, here, there):
    """All steps of a schedule and what came of them."""
    schedule = schedules.schedule(SEED, number)
    print(f"\nschedule {number}: {schedule.proto}, IPv{schedule.family}, from {schedule.client}, "
          f"backends {schedule.frontend}")
    for step, ours, theirs in itertools.zip_longest(schedule.steps, here, there, fillvalue=""):
        print(f"  {step[0]:<18}{str(step[1]):<24}{ours:<16}{theirs}")


def batches():
    """Numbers of schedules, until time is up or there were enough."""
    if ONLY:
        yield [int(number) for number in ONLY.split(",")]
        return
    begun, first = time.monotonic(), 0
    while first < COUNT if COUNT else time.monotonic() < begun + SECONDS:
        yield range(first, min(first + BATCH, COUNT) if COUNT else first + BATCH)
        first += BATCH


def test_what_survives_with_netfilter_survives_here():
    tally, suspects = Tally(), {}
    with FairleadWorld() as here, NetfilterWorld() as there:
        drivers = [Driver(here), Driver(there)]
        for numbers in batches():
            runs = run_both(drivers, [(number, 0) for number in numbers], tally)
            tally.add(runs)
            suspects.update({number: [pair] for (number, _), pair in runs.items()
                             if ended(pair[0]) != ended(pair[1])})
            if ONLY:
                for (number, _), pair in runs.items():
                    tell(number, *pair)
        again = [(number, attempt) for attempt in range(1, AGAIN + 1) for number in suspects]
        for (number, _), pair in (run_both(drivers, again, tally) if again else {}).items():
            suspects[number].append(pair)
    for number, runs in suspects.items():
        tally.judge(number, runs)
    tally.write()
    print(tally.text())
    assert not tally.failures, (
        f"{len(tally.failures)} schedules ended here and not with netfilter (FAIRLEAD_SEED={SEED} "
        f"FAIRLEAD_ORACLE_WAY={WAY} FAIRLEAD_ORACLE_ONLY=NUMBER repeats one, {LOG} has all):\n{tally.text()}")
