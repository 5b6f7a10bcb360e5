# SPDX-License-Identifier: BSD-2-Clause
"""What clients, servers and strangers do, by chance, and again by the same seed: test_oracle.py runs it.

A schedule is one client port, one frontend, and steps: [name, argument]. Steps that must succeed if nothing
is broken: "open", "say", "half-close", "half-close-server", "tell", "ask", and what begins with "direct-". The
others only make trouble.
"""

import dataclasses
import random

import strangers

CLIENTS = ("client", "client", "pod1a")  # outside, or a pod of the node that serves
FRONTENDS = ("here", "elsewhere", "everywhere")
PORTS = range(1024, 65000)
PORT_STEP = 7919  # a prime: ports of one batch are far apart
# Seconds, longer and shorter than a flow that is over lives (test_oracle.py: 2).
IDLE = (0.0, 0.05, 0.5, 1.0, 2.6, 3.2)


@dataclasses.dataclass
class Schedule:
    number: int
    proto: str
    family: int
    client: str
    frontend: str
    port: int
    steps: list

    @property
    def kinds(self):
        """What makes this one special."""
        found = [argument if name == "stranger" else name for name, argument in self.steps
                 if name not in ("open", "say", "ask", "idle")]
        return sorted(set(found)) or ["plain"]


    def blamed(self, end):
        """What came last before the step at which it ended, and was special."""
        for name, argument in reversed(self.steps[:end + 1]):
            if name == "stranger":
                return argument
            if name in ("close", "half-close", "half-close-server", "direct-open", "direct-ask"):
                return name
        return "plain"


def idle(rng):
    return ["idle", rng.choice(IDLE)]


def saying(rng):
    return ["say", rng.choice((1, 1, 10, 3000, 40000))]


def live_through(rng, steps, kinds, words):
    """A stranger interferes, once or twice; the conversation goes on, at once and later."""
    for _ in range(rng.choice((1, 1, 2))):
        steps += [["stranger", rng.choice(kinds)], [words, 1]] if rng.random() < 0.5 else [
            ["stranger", rng.choice(kinds)]]
        steps += [["idle", rng.choice((0.05, 2.6, 3.2))], [words, 1]]


def tcp_steps(rng):
    kinds = list(strangers.OF_TCP)
    if rng.random() < 0.7:
        kinds = [rng.choice(kinds)]
    steps = [["open", None], saying(rng)]
    story = rng.random()
    if story < 0.6:
        live_through(rng, steps, kinds, "say")
    elif story < 0.7:  # half-closed, by either side
        steps += rng.choice(([["half-close", rng.choice(IDLE)]],
                             [["half-close-server", None], idle(rng), ["tell", None], idle(rng), ["tell", None]]))
    elif story < 0.85:  # the same port again, at once
        for _ in range(rng.choice((1, 2, 4))):
            steps += [["close", rng.choice(("server", "client-abort", "server-abort"))], ["open", None], saying(rng)]
        steps += [idle(rng), saying(rng)]
    else:  # the same port straight to the backend, before or afterwards
        direct = [["direct-open", None], ["direct-say", 1]]
        steps = direct + steps if rng.random() < 0.5 else steps + direct
        steps += [saying(rng), ["direct-say", 1], idle(rng), saying(rng), ["direct-say", 1]]
    return steps


def udp_steps(rng):
    kinds = list(strangers.OF_UDP)
    if rng.random() < 0.7:
        kinds = [rng.choice(kinds)]
    steps = [["ask", 1], ["ask", 1]]
    story = rng.random()
    if story < 0.4:
        live_through(rng, steps, kinds, "ask")
    elif story < 0.8:  # one socket, to the Service and to its backend
        if rng.random() < 0.5:  # to the backend first
            steps = [["direct-ask", 1]] * rng.choice((1, 2)) + steps
        for _ in range(rng.choice((1, 2, 3))):
            steps += [["direct-ask", 1]] * rng.choice((1, 2)) + [["ask", 1]] * rng.choice((1, 2)) + [idle(rng)]
        steps += [["ask", 1]]
    else:
        steps += [idle(rng), ["ask", 1], idle(rng), ["ask", 1000]]
    return steps


def schedule(seed, number, attempt=0):
    """One of a seed; another attempt is the same with another client port."""
    rng = random.Random(f"{seed}/{number}")
    proto = "tcp" if rng.random() < 0.75 else "udp"
    family = rng.choice((4, 6))
    client = rng.choice(CLIENTS)
    frontend = rng.choice(FRONTENDS)
    steps = tcp_steps(rng) if proto == "tcp" else udp_steps(rng)
    port = PORTS[((number + 20011 * attempt) * PORT_STEP) % len(PORTS)]
    return Schedule(number, proto, family, client, frontend, port, steps)
