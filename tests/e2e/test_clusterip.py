# SPDX-License-Identifier: BSD-2-Clause
"""ClusterIPs as clients see them: IPv4 and IPv6, TCP and UDP, by every hook that can serve them."""

import pytest

import manifests
from lab import PODS, address_of, let_pass, node_of, wait_for
from manifests import endpoint, next_vip, service, service_port, slice_, terminating

HOOKS = ["socket,tc", "tc", "socket"]
WITH_TC = ("socket,tc", "tc")
WITH_SOCKET = ("socket,tc", "socket")

# A pod behind a routed veth, a pod on a bridge, and a process of the host itself.
CLIENTS = ["pod1a", "pod2a", "node1"]
BACKENDS = ["pod1b", "pod1c", "pod2b", "pod2c"]

each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
each_proto = pytest.mark.parametrize("proto", ["tcp", "udp"])
each_client = pytest.mark.parametrize("client", CLIENTS)


def names(results):
    """Who answered; a failed request fails the test here."""
    failed = [result for result in results if "error" in result]
    assert not failed, f"{len(failed)} of {len(results)} requests failed, first: {failed[0]}"
    return [result["answer"]["name"] for result in results]


def refused(result):
    assert result.get("error") == "ECONNREFUSED", result
    assert result["seconds"] < 0.5, f"refused, but only after {result['seconds']:.2f} s"


def unanswered(world, result):
    """Dropped: silence, or without TC, which drops packets, an error of connect() that says so."""
    assert result.get("error") == ("timeout" if world.has_tc else "EPERM"), result


# Reaching backends.


@each_family
@each_proto
@each_client
def test_every_backend_answers_wherever_it_is(world, client, proto, family):
    vip = world.simple("web", family, BACKENDS)
    answered = names(world.place(client).ask_many(60, vip, proto=proto, until=BACKENDS))
    assert set(answered) == set(BACKENDS)


@each_family
@each_proto
@pytest.mark.parametrize("client", ["pod1a", "pod2a"])
def test_a_backend_sees_the_address_of_the_pod_that_asks(world, client, proto, family):
    vip = world.simple("web", family, BACKENDS)
    for result in world.place(client).ask_many(12, vip, proto=proto):
        assert result["answer"]["client"] == address_of(client, family)


@each_family
@each_proto
@each_client
def test_getpeername_is_the_address_that_was_dialled(world, client, proto, family):
    vip = world.simple("web", family, BACKENDS)
    for result in world.place(client).ask_many(4, vip, proto=proto):
        assert result["peer"] == [vip, 80]


@each_family
@each_proto
def test_the_port_of_the_frontend_need_not_be_that_of_the_backend(world, proto, family):
    vip = world.simple("web", family, ["pod1b", "pod2b"], port=443, target=8083)
    for result in world.place("pod1a").ask_many(6, vip, 443, proto=proto):
        assert result["answer"]["port"] == 8083


@each_family
def test_ports_of_one_service_lead_to_ports_of_their_own(world, family):
    vip = next_vip(family)
    ports = [service_port(80, "TCP", "web"), service_port(81, "TCP", "admin")]
    slice_ports_ = [{"name": "web", "protocol": "TCP", "port": 8081},
                    {"name": "admin", "protocol": "TCP", "port": 8082}]
    world.publish(service("two", vip, ports), slice_("two", BACKENDS, slice_ports_, family))
    client = world.place("pod1a")
    assert {result["answer"]["port"] for result in client.ask_many(6, vip, 80)} == {8081}
    assert {result["answer"]["port"] for result in client.ask_many(6, vip, 81)} == {8082}


@each_proto
@each_client
def test_a_dual_stack_service_answers_in_both_families(world, client, proto):
    vip4, vip6 = next_vip(4), next_vip(6)
    world.publish(service("dual", [vip4, vip6]),
                  slice_("dual", ["pod1b", "pod2b"], family=4),
                  slice_("dual", ["pod1c", "pod2c"], family=6))
    place = world.place(client)
    assert set(names(place.ask_many(20, vip4, proto=proto, until=["pod1b", "pod2b"]))) == {"pod1b", "pod2b"}
    assert set(names(place.ask_many(20, vip6, proto=proto, until=["pod1c", "pod2c"]))) == {"pod1c", "pod2c"}


@each_proto
@each_client
def test_an_ipv6_socket_reaches_an_ipv4_frontend_by_its_mapped_address(world, client, proto):
    vip = world.simple("web", 4, BACKENDS)
    for result in world.place(client).ask_many(6, f"::ffff:{vip}", proto=proto):
        assert result["peer"] == [f"::ffff:{vip}", 80]
        assert result["answer"]["name"] in BACKENDS


@each_client
def test_an_unconnected_ipv6_socket_gets_answers_from_the_mapped_frontend(world, client):
    vip = world.simple("web", 4, BACKENDS)
    for result in world.place(client).ask_many(6, f"::ffff:{vip}", proto="udp", connected=False):
        assert result["sender"] == [f"::ffff:{vip}", 80]


@each_family
@each_proto
@pytest.mark.parametrize("client", ["pod1b", "pod2b"])
def test_a_pod_reaches_itself_through_its_service(world, client, proto, family):
    """By packets, its client has to be another than itself: the frontend. A socket needs no such trick."""
    vip = world.simple("self", family, [client])
    for result in world.place(client).ask_many(6, vip, proto=proto):
        assert result["answer"]["name"] == client
        assert result["answer"]["client"] == (address_of(client, family) if world.has_socket else vip)


@each_family
@each_proto
@pytest.mark.hooks(*WITH_TC)
@pytest.mark.parametrize("client", ["pod1a", "pod2a"])
def test_a_client_that_socket_hooks_cannot_see_is_served(world, client, proto, family):
    vip = world.simple("web", family, BACKENDS)
    hidden = world.place(client, unseen=True)
    assert set(names(hidden.ask_many(60, vip, proto=proto, until=BACKENDS))) == set(BACKENDS)


@each_family
@each_proto
@pytest.mark.hooks(*WITH_TC)
def test_a_client_outside_reaches_backends_of_the_node_it_routes_to(world, proto, family):
    vip = world.simple("web", family, ["pod1b", "pod1c"])
    outside = world.place("client")
    outside.run("ip", "route", "replace", vip, "via", address_of("node1", family))
    results = outside.ask_many(20, vip, proto=proto, until=["pod1b", "pod1c"])
    assert set(names(results)) == {"pod1b", "pod1c"}
    assert {result["answer"]["client"] for result in results} == {address_of("client", family)}


@each_family
def test_a_long_answer_arrives_whole(world, family):
    vip = world.simple("web", family, BACKENDS)
    for client in CLIENTS:
        result = world.place(client).ask(vip, message="fill 300000\n", timeout=5)
        assert result["answer"]["length"] > 300000


@each_family
def test_a_long_request_arrives_whole(world, family):
    vip = world.simple("web", family, BACKENDS)
    for client in CLIENTS:
        result = world.place(client).ask(vip, message="x" * 300000 + "\n", timeout=5)
        assert result["answer"]["name"] in BACKENDS


# UDP sockets.


@each_family
@each_client
def test_an_unconnected_udp_socket_hears_from_each_frontend_it_wrote_to(world, client, family):
    vips = [world.simple(f"web{number}", family, BACKENDS, target=8080 + number)
            for number in range(4)]
    with world.place(client).socket("udp", vips[0]) as sock:
        for _ in range(3):
            for number, vip in enumerate(vips):
                result = sock.exchange_with(address=vip, port=80)
                assert result["sender"] == [vip, 80]
                assert result["answer"]["port"] == 8080 + number


@each_family
@each_client
def test_two_frontends_with_one_backend_answer_a_udp_socket_each_in_its_turn(world, client, family):
    vips = [world.simple(f"same{number}", family, ["pod2b"]) for number in range(2)]
    with world.place(client).socket("udp", vips[0]) as sock:
        for _ in range(5):
            for vip in vips:
                assert sock.exchange_with(address=vip, port=80)["sender"] == [vip, 80]


@each_family
@each_client
def test_an_unconnected_udp_socket_keeps_its_backend(world, client, family):
    vip = world.simple("web", family, BACKENDS)
    with world.place(client).socket("udp", vip) as sock:
        answers = {sock.exchange_with(address=vip, port=80)["answer"]["name"] for _ in range(20)}
    assert len(answers) == 1


@each_family
@each_client
def test_a_connected_udp_socket_keeps_its_backend(world, client, family):
    vip = world.simple("web", family, BACKENDS)
    with world.place(client).socket("udp", vip, 80) as sock:
        answers = {sock.exchange()["answer"]["name"] for _ in range(20)}
    assert len(answers) == 1


@each_family
@each_client
def test_one_udp_socket_talks_to_a_frontend_and_to_a_pod_directly(world, client, family):
    vip = world.simple("web", family, ["pod2b"])
    direct = address_of("pod2b", family)
    with world.place(client).socket("udp", vip) as sock:
        for _ in range(3):
            assert sock.exchange_with(address=vip, port=80)["sender"] == [vip, 80]
            assert sock.exchange_with(address=direct, port=8081)["sender"] == [direct, 8081]


@each_family
@each_client
def test_an_unconnected_udp_socket_moves_away_from_a_backend_that_left(world, client, family):
    vip = world.simple("web", family, ["pod1b", "pod2b"])
    with world.place(client).socket("udp", vip) as sock:
        first = sock.exchange_with(address=vip, port=80)["answer"]["name"]
        other = {"pod1b": "pod2b", "pod2b": "pod1b"}[first]
        world.change("web", family, vip, [other])
        for _ in range(5):
            result = sock.exchange_with(address=vip, port=80)
            assert result["answer"]["name"] == other
            assert result["sender"] == [vip, 80]


@each_family
@pytest.mark.hooks("tc")
@each_client
def test_a_connected_udp_socket_moves_away_from_a_backend_that_left(world, client, family):
    vip = world.simple("web", family, ["pod1b", "pod2b"])
    with world.place(client).socket("udp", vip, 80) as sock:
        first = sock.exchange()["answer"]["name"]
        other = {"pod1b": "pod2b", "pod2b": "pod1b"}[first]
        world.change("web", family, vip, [other])
        assert {sock.exchange()["answer"]["name"] for _ in range(5)} == {other}


@each_family
@pytest.mark.hooks(*WITH_SOCKET)
def test_a_connected_udp_socket_is_told_that_its_backend_left(world, family):
    vip = world.simple("web", family, ["pod1b"])
    socks = [world.place(client).socket("udp", vip, 80, timeout=0.2) for client in CLIENTS]
    for sock in socks:
        assert sock.exchange()["answer"]["name"] == "pod1b"
    world.change("web", family, vip, ["pod2b"])
    for sock in socks:
        wait_for(lambda: sock.exchange().get("error") in ("ECONNABORTED", "ENOTCONN", "EDESTADDRREQ"),
                 f"an error on a socket of {sock.place.name} whose backend has left")
        sock.pending_error()  # sending may have failed first, with the news still waiting
        assert "error" not in sock.connect(address=vip, port=80)
        sock.exchange()  # an answer of the old backend may be in the socket's queue still
        assert sock.exchange()["answer"]["name"] == "pod2b"
        sock.close()


@each_family
@pytest.mark.hooks(*WITH_SOCKET)
def test_a_connected_udp_socket_is_told_though_another_service_still_has_its_backend(world, family):
    left = world.simple("left", family, ["pod1b"])
    stays = world.simple("stays", family, ["pod1b"])
    place = world.place("node1")
    with place.socket("udp", left, 80, timeout=0.2) as told, \
            place.socket("udp", stays, 80, timeout=0.2) as untold:
        for sock in (told, untold):
            assert sock.exchange()["answer"]["name"] == "pod1b"
        world.change("left", family, left, ["pod2b"])
        wait_for(lambda: "error" in told.exchange(), "an error on a socket whose backend has left")
        for _ in range(3):
            assert untold.exchange()["answer"]["name"] == "pod1b"


# Nobody to answer.


@each_family
@each_proto
@each_client
def test_a_service_without_endpoints_refuses_at_once(world, client, proto, family):
    vip = world.simple("empty", family, [])
    for _ in range(3):
        refused(world.place(client).ask(vip, proto=proto))


@each_family
@each_proto
@each_client
def test_a_service_whose_endpoints_are_not_ready_refuses_at_once(world, client, proto, family):
    vip = world.simple("unready", family, [endpoint("pod1b", family, ready=False)])
    refused(world.place(client).ask(vip, proto=proto))


@each_family
@each_proto
@each_client
def test_a_port_that_the_service_does_not_have_refuses_at_once(world, client, proto, family):
    vip = world.simple("web", family, BACKENDS)
    for _ in range(3):
        refused(world.place(client).ask(vip, 81, proto=proto))


@each_family
@each_client
def test_a_protocol_that_the_port_does_not_have_refuses_at_once(world, client, family):
    vip = next_vip(family)
    world.publish(service("web", vip, [service_port(80, "TCP", "tcp")]),
                  slice_("web", BACKENDS, family=family))
    refused(world.place(client).ask(vip, proto="udp"))
    assert "answer" in world.place(client).ask(vip, proto="tcp")


@each_family
@pytest.mark.hooks(*WITH_TC)
@each_client
def test_a_udp_socket_connects_to_a_port_that_is_not_there_and_cannot_send(world, client, family):
    """Connecting sends nothing, and ping and traceroute do it only to learn their own address."""
    vip = world.simple("web", family, BACKENDS)
    with world.place(client).socket("udp", vip, 81) as sock:
        refused(sock.exchange())


@each_family
@pytest.mark.hooks(*WITH_TC)
@each_client
def test_a_ping_of_a_cluster_ip_is_answered(world, client, family):
    vip = world.simple("web", family, BACKENDS)
    done = world.place(client).ping(vip)
    assert done.returncode == 0, done.stdout


@each_family
@pytest.mark.hooks(*WITH_TC)
def test_a_ping_of_a_service_without_endpoints_is_answered_too(world, family):
    vip = world.simple("empty", family, [])
    assert world.place("pod1a").ping(vip).returncode == 0


@each_family
@each_proto
@each_client
def test_a_service_that_gets_its_first_endpoint_stops_refusing(world, client, proto, family):
    vip = world.simple("web", family, [])
    place = world.place(client)
    refused(place.ask(vip, proto=proto))
    world.change("web", family, vip, ["pod2b"])
    assert set(names(place.ask_many(5, vip, proto=proto))) == {"pod2b"}


# Policies.


@each_family
@each_proto
@pytest.mark.parametrize("client", CLIENTS + ["node2"])
def test_internal_traffic_policy_local_stays_on_the_node(world, client, proto, family):
    vip = world.simple("local", family, BACKENDS, internalTrafficPolicy="Local")
    expected = set(PODS[node_of(client)]) & set(BACKENDS)
    assert set(names(world.place(client).ask_many(30, vip, proto=proto, until=list(expected)))) == expected


@each_family
@each_proto
@each_client
def test_policy_local_without_an_endpoint_on_the_node_is_not_answered(world, client, proto, family):
    elsewhere = "pod2b" if node_of(client) == "node1" else "pod1b"
    vip = world.simple("local", family, [elsewhere], internalTrafficPolicy="Local")
    unanswered(world, world.place(client).ask(vip, proto=proto, timeout=0.3))


@each_family
@each_client
def test_policy_local_with_no_endpoint_anywhere_refuses(world, client, family):
    vip = world.simple("local", family, [], internalTrafficPolicy="Local")
    refused(world.place(client).ask(vip))


@each_family
@each_proto
def test_zone_hints_keep_traffic_in_the_zone_when_every_endpoint_has_one(world, proto, family):
    hinted = [endpoint(place, family, hints={"forZones": [{"name": zone}]})
              for place, zone in (("pod1b", "a"), ("pod1c", "b"), ("pod2b", "b"), ("pod2c", "a"))]
    world.publish(manifests.zoned_node("node1", "a"), manifests.zoned_node("node2", "b"))
    vip = world.simple("zoned", family, hinted)
    for client, expected in (("pod1a", {"pod1b", "pod2c"}), ("pod2a", {"pod1c", "pod2b"}),
                             ("node1", {"pod1b", "pod2c"})):
        asked = world.place(client).ask_many(30, vip, proto=proto, until=list(expected))
        assert set(names(asked)) == expected, client


@each_family
def test_zone_hints_count_for_nothing_when_one_endpoint_has_none(world, family):
    hinted = [endpoint("pod1b", family, hints={"forZones": [{"name": "a"}]}),
              endpoint("pod2b", family, hints={"forZones": [{"name": "b"}]}),
              endpoint("pod2c", family)]
    world.publish(manifests.zoned_node("node1", "a"), manifests.zoned_node("node2", "b"))
    vip = world.simple("zoned", family, hinted)
    everyone = ["pod1b", "pod2b", "pod2c"]
    assert set(names(world.place("pod1a").ask_many(40, vip, until=everyone))) == set(everyone)


@each_family
def test_node_hints_keep_traffic_on_the_node(world, family):
    hinted = [endpoint(place, family, hints={"forNodes": [{"name": node_of(place)}]})
              for place in BACKENDS]
    vip = world.simple("hinted", family, hinted)
    assert set(names(world.place("pod1a").ask_many(30, vip, until=["pod1b", "pod1c"]))) == {"pod1b", "pod1c"}
    assert set(names(world.place("pod2a").ask_many(30, vip, until=["pod2b", "pod2c"]))) == {"pod2b", "pod2c"}


# Backends that come and go.


@each_family
@each_client
def test_a_session_with_a_terminating_backend_goes_on_and_new_ones_go_elsewhere(
        world, client, family):
    vip = world.simple("web", family, BACKENDS)
    place = world.place(client)
    with place.socket("tcp", vip, 80) as sock:
        leaving = sock.exchange()["answer"]["name"]
        world.change("web", family, vip, [terminating(name, family) if name == leaving else name
                                          for name in BACKENDS])
        assert sock.exchange()["answer"]["name"] == leaving
        staying = [name for name in BACKENDS if name != leaving]
        for proto in ("tcp", "udp"):
            assert set(names(place.ask_many(40, vip, proto=proto, until=staying))) == set(staying)
        assert sock.exchange()["answer"]["name"] == leaving


@each_family
@each_proto
@each_client
def test_terminating_backends_answer_when_there_is_no_other(world, client, proto, family):
    vip = world.simple("web", family, [terminating("pod1b", family), terminating("pod2b", family),
                                       endpoint("pod2c", family, ready=False)])
    results = world.place(client).ask_many(20, vip, proto=proto, until=["pod1b", "pod2b"])
    assert set(names(results)) == {"pod1b", "pod2b"}


@each_family
@each_proto
@each_client
def test_new_connections_never_go_to_a_backend_that_has_left(world, client, proto, family):
    place = world.place(client)
    vip = world.simple("web", family, BACKENDS)
    left = list(BACKENDS)
    while len(left) > 1:
        left.pop()
        world.change("web", family, vip, left)
        assert set(names(place.ask_many(30, vip, proto=proto, until=left))) == set(left)


@each_family
@each_client
def test_a_session_survives_changes_of_the_other_backends(world, client, family):
    vip = world.simple("web", family, ["pod2b"])
    with world.place(client).socket("tcp", vip, 80) as sock:
        for others in (["pod1b"], ["pod1b", "pod1c"], [], ["pod2c"]):
            world.change("web", family, vip, ["pod2b"] + others)
            assert sock.exchange()["answer"]["name"] == "pod2b"


@each_family
@each_client
def test_a_session_goes_on_after_its_backend_left_the_service(world, client, family):
    """It did not terminate, so it may be alive: a readiness probe that failed once looks the same."""
    vip = world.simple("web", family, ["pod1b"])
    with world.place(client).socket("tcp", vip, 80) as sock:
        for rest in (["pod2b"], []):
            world.change("web", family, vip, rest)
            assert sock.exchange()["answer"]["name"] == "pod1b"


@each_family
@each_client
def test_a_session_goes_on_after_its_service_was_removed(world, client, family):
    vip = world.simple("web", family, ["pod2b"])
    place = world.place(client)
    with place.socket("tcp", vip, 80) as sock:
        assert sock.exchange()["answer"]["name"] == "pod2b"
        world.withdraw("web")
        assert "error" in place.ask(vip, timeout=0.2)
        for _ in range(3):
            assert sock.exchange()["answer"]["name"] == "pod2b"
    world.leaked()


@each_family
@pytest.mark.hooks("tc")
@each_client
@pytest.mark.parametrize("rest", [["pod1c"], []], ids=["others", "none"])
def test_a_session_is_reset_when_its_backend_has_terminated(world, client, rest, family):
    vip = world.simple("web", family, ["pod2b"])
    with world.place(client).socket("tcp", vip, 80) as sock:
        assert sock.exchange()["answer"]["name"] == "pod2b"
        world.change("web", family, vip, [terminating("pod2b", family), *rest])
        assert sock.exchange()["answer"]["name"] == "pod2b"
        world.change("web", family, vip, rest)
        assert sock.exchange()["error"] == "ECONNRESET"


# Session affinity.


def sticky(seconds):
    return {"sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}}


@each_family
@each_proto
@each_client
def test_affinity_brings_a_client_to_the_same_backend(world, client, proto, family):
    vip = world.simple("sticky", family, BACKENDS, sessionAffinity="ClientIP")
    assert len(set(names(world.place(client).ask_many(20, vip, proto=proto)))) == 1


@each_family
@each_proto
def test_affinity_is_each_client_s_own(world, proto, family):
    """With sixteen Services, three clients that always agree would be no chance."""
    vips = [world.simple(f"sticky{number}", family, BACKENDS, sessionAffinity="ClientIP")
            for number in range(16)]
    chosen = {client: [names([world.place(client).ask(vip, proto=proto)])[0] for vip in vips]
              for client in ("pod1a", "pod2a", "node1")}
    assert chosen["pod1a"] != chosen["pod2a"]
    assert chosen["pod1a"] != chosen["node1"]


def test_affinity_ends_with_the_timeout_of_its_service(world):
    """Twelve Services, four backends: that all choose the same again is one chance in 16 million.

    One wait is for all families and protocols.
    """
    place = world.place("pod1a")
    short, long = {}, {}
    for family in (4, 6):
        short[family] = [world.simple(f"short{family}-{number}", family, BACKENDS, **sticky(1))
                         for number in range(12)]
        long[family] = [world.simple(f"long{family}-{number}", family, BACKENDS, **sticky(60))
                        for number in range(4)]

    def ask_each(vips):
        return {(family, proto): [names([place.ask(vip, proto=proto)])[0] for vip in vips[family]]
                for family in (4, 6) for proto in ("tcp", "udp")}

    before = ask_each(short), ask_each(long)
    let_pass(2.1)
    after = ask_each(short), ask_each(long)
    assert all(after[0][key] != before[0][key] for key in before[0])
    assert after[1] == before[1]


@each_family
@each_proto
@each_client
def test_affinity_lets_go_of_a_backend_that_is_no_longer_eligible(world, client, proto, family):
    vip = world.simple("sticky", family, BACKENDS, sessionAffinity="ClientIP")
    place = world.place(client)
    first = names([place.ask(vip, proto=proto)])[0]
    rest = [name for name in BACKENDS if name != first]
    world.change("sticky", family, vip, rest, sessionAffinity="ClientIP")
    then = names(place.ask_many(10, vip, proto=proto))
    assert len(set(then)) == 1 and then[0] in rest
    world.change("sticky", family, vip, BACKENDS, sessionAffinity="ClientIP")
    assert set(names(place.ask_many(10, vip, proto=proto))) == {then[0]}


@each_family
@pytest.mark.hooks(*WITH_TC)
def test_affinity_holds_for_a_client_that_socket_hooks_cannot_see(world, family):
    vip = world.simple("sticky", family, BACKENDS, sessionAffinity="ClientIP")
    hidden = world.place("pod1a", unseen=True)
    assert len(set(names(hidden.ask_many(20, vip)))) == 1


# Services that are not ours.


@pytest.mark.parametrize("what, mark", [
    ("other-proxy", {"labels": {"service.kubernetes.io/service-proxy-name": "mesh"}}),
    ("external-name", {"type": "ExternalName", "externalName": "example.org"}),
])
def test_a_service_that_belongs_to_another_is_left_alone(world, what, mark):
    vip = next_vip(4)
    world.publish(service(what, vip, **mark), slice_(what, BACKENDS))
    for agent in world.agents.values():
        assert vip not in {address for address, _, _ in agent.frontends()}
        assert what in agent.fairlead("services").stdout
    assert world.place("pod1a").ask(vip, timeout=0.2)["error"] == "timeout"
    world.leaked()


def test_a_service_with_a_cluster_ip_and_the_headless_label_is_served(world):
    vip = next_vip(4)
    world.publish(service("labelled", vip, labels={"service.kubernetes.io/headless": ""}),
                  slice_("labelled", ["pod2b"]))
    assert world.place("pod1a").ask(vip)["answer"]["name"] == "pod2b"


@each_family
def test_a_service_that_was_removed_is_nobody_s(world, family):
    vip = world.simple("gone", family, BACKENDS)
    assert "answer" in world.place("pod1a").ask(vip)
    world.withdraw("gone")
    assert "error" in world.place("pod1a").ask(vip, timeout=0.2)
    assert all(vip not in {address for address, _, _ in agent.frontends()}
               for agent in world.agents.values())
    world.leaked()
