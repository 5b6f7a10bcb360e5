# SPDX-License-Identifier: BSD-2-Clause
"""Maps that have become too small are replaced by larger ones when the agent starts, under traffic."""

import pytest

from manifests import endpoint, next_vip, service, slice_
from world import World

BACKENDS = ["pod1b", "pod1c", "pod2b", "pod2c"]
SMALL = ["--max-services", "32", "--max-slots", "64", "--max-backends", "64"]


@pytest.mark.parametrize("hooks", ["socket,tc", "tc"])
def test_maps_grow_when_the_agent_starts_with_more_and_no_request_fails(hooks):
    with World(hooks, *SMALL) as made:
        agent = made.agents["node1"]
        steady = made.simple("steady", 4, BACKENDS)
        many = [endpoint(f"10.9.{number // 250}.{number % 250 + 1}", 4) for number in range(200)]
        big = next_vip(4)
        made.publish(service("big", big), slice_("big", many), name="big")
        assert big not in {address for address, _, _ in agent.frontends()}
        ids = {key: value for key, value in agent.backends().items() if value[1] == 1}
        place = made.place("pod1a")
        handle = place.call("asking_start", targets=[[steady, 80, "tcp"], [steady, 80, "udp"]])
        with place.socket("tcp", steady, 80) as session:
            name = session.exchange()["answer"]["name"]
            agent.stop()
            agent.options = ("--hooks", hooks)
            agent.start()
            agent.wait_for_log("map slots grows")
            assert session.exchange()["answer"]["name"] == name
        state = place.call("asking_stop", handle=handle)
        assert not state["failures"], state["failures"][:5]
        assert big in {address for address, _, _ in agent.frontends()}
        now = agent.backends()
        assert all(now[key] == value for key, value in ids.items())


def test_maps_that_are_large_enough_stay_whatever_the_flags_say():
    with World("socket,tc") as made:
        agent = made.agents["node1"]
        vip = made.simple("web", 4, BACKENDS)
        agent.stop()
        agent.options = ("--hooks", "socket,tc", *SMALL)
        agent.start()
        assert not any("grows" in line for line in agent.log)
        assert "answer" in made.place("pod1a").ask(vip)
