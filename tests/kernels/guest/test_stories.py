#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Devices and sockets that only a kernel with its modules has, through Services: each story_*.py tells of some.

usage: test_stories.py [STORY...]    such as vlan; all of them without an argument

Made for a guest of its own that ends afterwards, as root; leaves nothing behind elsewhere either. Stories share one
lab with an agent on both nodes. What this kernel or machine lacks is skipped, and why.
"""

import importlib
import subprocess
import sys
import time

sys.dont_write_bytecode = True

import tap  # noqa: E402
from cluster import Cluster  # noqa: E402

# The last one ends node1's agent.
STORIES = ("refusal", "sctp", "vlan", "netkit", "overlay", "wireguard", "bond", "firewall", "other_proxies", "netem",
           "xdp")


def can_load(*names):
    try:
        tap.need_modules(*names)
    except tap.Skip:
        return False
    return True


def tell(name, cluster):
    module = importlib.import_module(f"story_{name}")
    begun = time.monotonic()
    try:
        tap.need_modules(*module.NEEDS)
        module.story(cluster)
    except tap.Skip as reason:
        tap.skipped(name, reason)
    except (AssertionError, OSError, ValueError, KeyError, subprocess.SubprocessError) as problem:
        tap.promise(False, f"{name}: told to its end", f"{type(problem).__name__}: {problem}")
        cluster.tell()
    tap.note(f"{name} took {time.monotonic() - begun:.0f} s")


def main(names):
    unknown = set(names) - set(STORIES)
    if unknown:
        sys.exit(f"test_stories.py: there is no story {', '.join(sorted(unknown))}; there are: {' '.join(STORIES)}")
    begun = time.monotonic()
    with Cluster(has_sctp=can_load("sctp")) as cluster:
        tap.note(f"the lab and its agents took {time.monotonic() - begun:.0f} s")
        for name in STORIES:
            if name in (names or STORIES):
                tell(name, cluster)
    return tap.exit_code()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
