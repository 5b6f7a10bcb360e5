# SPDX-License-Identifier: BSD-2-Clause
"""The API server for tests answers as the real one did: byte for byte but for the date."""

import gzip
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from apiserver import ApiServer, ApiServerProcess
from apiserver.client import ServerError, wait_for

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "kube"
PROXY_SELECTOR = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"
SERVICES, NODES, ENDPOINTS = "/api/v1/services", "/api/v1/nodes", "/api/v1/endpoints"
SLICES, OLD_SLICES = ("/apis/discovery.k8s.io/v1/endpointslices",
                      "/apis/discovery.k8s.io/v1beta1/endpointslices")
LISTS = {SERVICES: "services", NODES: "nodes", OLD_SLICES: "endpointslices-v1beta1"}


class Client:
    """One connection; sees every byte of an answer."""

    def __init__(self, server, context=None, **headers):
        self.sock = socket.create_connection((server.address, server.port), timeout=10)
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname=server.address)
        self.headers, self.bytes = headers, b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, path, method="GET", body=b"", **headers):
        lines = [f"{method} {path} HTTP/1.1", "Host: test"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in (self.headers | headers).items()]
        lines += [f"Content-Length: {len(body)}"] if body else []
        self.sock.sendall("\r\n".join(lines + ["", ""]).encode() + body)

    def more(self):
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        self.bytes += data
        return data

    def take(self, count):
        """The next bytes; what there was, if the connection ended before."""
        while len(self.bytes) < count and self.more():
            pass
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def line(self, end=b"\r\n"):
        while end not in self.bytes and self.more():
            pass
        place = self.bytes.find(end)
        return self.take(place + len(end) if place >= 0 else len(self.bytes))

    def chunk(self):
        """The next chunk, with its framing and without; (b"", b"") after the connection's end."""
        head = self.line()
        size = int(head, 16) if head.strip() else 0
        data = self.take(size + 2) if head else b""
        return head + data, data[:size]

    def get(self, path, **headers):
        self.send(path, **headers)
        return self.answer()

    def answer(self):
        """Status, headers, body, and the raw bytes of one answer."""
        head = self.line(b"\r\n\r\n")
        if not head:
            return 0, {}, b"", b""
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        raw, body = head, b""
        if "Content-Length" in headers:
            body = self.take(int(headers["Content-Length"]))
            raw += body
        elif headers.get("Transfer-Encoding") == "chunked":
            while True:
                framed, data = self.chunk()
                raw, body = raw + framed, body + data
                if not data:
                    break
        return int(lines[0].split()[1]), headers, body, raw

    def watch(self, path):
        self.send(path + ("&" if "?" in path else "?") + "watch=true")
        assert self.line(b"\r\n\r\n").startswith(b"HTTP/1.1 200")

    def events(self, count):
        """The next events of a watch: fewer, if the stream ends. Chunks may end within one."""
        text = b""
        while text.count(b"\n") < count:
            _, data = self.chunk()
            if not data:
                break
            text += data
        return text.splitlines(keepends=True)


def path_of(name):
    return str(FIXTURES / name)


def recorded(name):
    return (FIXTURES / name).read_bytes()


def events_of(name):
    """The recorded events of objects, as lines."""
    return [line for line in recorded(name).splitlines(keepends=True) if b'"BOOKMARK"' not in line[:20]]


def service(name, **spec):
    return {"kind": "Service", "metadata": {"namespace": "shop", "name": name}, "spec": spec}


def advance(server, version):
    """Brings the server to this resourceVersion, by a Node that is there no longer."""
    metadata = {"name": "gone", "resourceVersion": str(version)}
    server.replay([{"type": "DELETED", "object": {"kind": "Node", "metadata": metadata}}])


@pytest.fixture(scope="module")
def shared():
    with ApiServerProcess() as server:
        yield server


@pytest.fixture
def server(shared):
    """The shared process as if it had just been started, with the recorded lists of one moment."""
    shared.reset()
    shared.set(slice_versions=["v1", "v1beta1"])
    shared.load(*(path_of(f"{name}-list.json") for name in LISTS.values()), path_of("endpoints-list.json"))
    return shared


@pytest.fixture
def client(server):
    with Client(server) as made:
        yield made


# The recordings.


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_the_recorded_one(client, path):
    assert client.get(path)[2] == recorded(f"{LISTS[path]}-list.json")


@pytest.mark.parametrize("path, name", [
    (f"{SERVICES}?labelSelector={PROXY_SELECTOR.replace('!', '%21')}", "services-list-labelselector.json"),
    (f"{NODES}?fieldSelector=metadata.name%3Dnode-1", "nodes-list-one.json"),
    ("/api/v1/namespaces/v6/services?pretty=true", "services-list-pretty.json"),
    ("/api/v1/namespaces/none/endpoints", "endpoints-list-empty.json"),
])
def test_a_selection_is_the_recorded_one(client, path, name):
    assert client.get(path)[2] == recorded(name)


@pytest.mark.parametrize("path, name", [
    ("/apis/discovery.k8s.io", "apis-discovery.k8s.io.json"),
    ("/apis/discovery.k8s.io/v1beta1", "apis-discovery.k8s.io-v1beta1.json"),
])
def test_discovery_is_the_recorded_one(server, client, path, name):
    server.set(slice_versions=["v1beta1"])
    assert client.get(path)[2] == recorded(name)


@pytest.mark.parametrize("path", LISTS)
def test_the_recorded_watch_on_the_recorded_list_gives_the_recorded_list_after(server, client, path):
    lines = events_of(f"watch-{LISTS[path]}.jsonl")
    client.watch(f"{path}?resourceVersion=1352")
    assert server.replay(path_of(f"watch-{LISTS[path]}.jsonl")) == len(lines)
    assert client.events(len(lines)) == lines
    advance(server, 1772)
    with Client(server) as other:
        assert other.get(path)[2] == recorded(f"{LISTS[path]}-list-after.json")
        other.watch(f"{path}?resourceVersion=1352")  # from the history
        assert other.events(len(lines)) == lines


@pytest.mark.parametrize("path, replayed, name", [
    (f"{SERVICES}?labelSelector={PROXY_SELECTOR.replace('!', '%21')}", "watch-services.jsonl",
     "watch-services-labelselector.jsonl"),
    (f"{NODES}?fieldSelector=metadata.name%3Dnode-1", "watch-nodes.jsonl", "watch-nodes-one.jsonl"),
])
def test_a_watch_of_a_selection_is_the_recorded_one(server, client, path, replayed, name):
    lines = events_of(name)
    client.watch(f"{path}&resourceVersion=1352")
    server.replay(path_of(replayed))
    assert client.events(len(lines)) == lines


def test_a_watch_from_version_0_begins_with_what_exists(server, client):
    client.watch("/api/v1/namespaces/v6/services?resourceVersion=0")
    lines = events_of("watch-services-rv0.jsonl")
    assert sorted(client.events(len(lines))) == sorted(lines)


def test_pages_are_the_recorded_ones(client):
    pages = [client.get(f"{SERVICES}?limit=20")[2]]
    while token := json.loads(pages[-1])["metadata"].get("continue"):
        pages.append(client.get(f"{SERVICES}?limit=20&continue={token}")[2])
    assert pages == [recorded(f"services-page-{number}.json") for number in (1, 2, 3)]


def same_but_date(raw, name, but=""):
    """Compares with a recorded answer, and leaves out the headers that match `but` too."""
    left_out = re.compile(rf"^(Date|{but or 'Date'}): .*\r\n".encode(), re.M)
    head, _, body = raw.partition(b"\r\n\r\n")
    expected_head, _, expected_body = recorded(name).partition(b"\r\n\r\n")
    assert left_out.sub(b"", head + b"\r\n") == left_out.sub(b"", expected_head + b"\r\n")
    assert body == expected_body


@pytest.mark.parametrize("path, name, headers", [
    ("/version", "http-200-version.http", {}),
    (f"{SERVICES}?limit=5&continue=garbage", "http-400-bad-continue.http", {}),
    (SERVICES, "http-406-accept.http", {"Accept": "text/html"}),
    (f"{SERVICES}?watch=true&resourceVersion=abc", "http-500-watch-bad-rv.http", {}),
    (f"{SERVICES}?watch=true&resourceVersion=99999999&timeoutSeconds=0.1",
     "http-watch-rv-too-large.http", {}),
    (SLICES, "http-404-discovery-v1.http", {}),
    (f"{SLICES}?watch=true", "http-404-discovery-v1-watch.http", {}),
])
def test_an_answer_is_the_recorded_one(server, client, path, name, headers):
    server.set(slice_versions=["v1beta1"])
    same_but_date(client.get(path, **headers)[3], name)


def test_the_answer_for_an_object_that_does_not_exist_is_the_recorded_one(client):
    # Somebody with more rights had asked, so the flow schema is another.
    same_but_date(client.get("/api/v1/namespaces/shop/services/nope")[3], "http-404-object.http", "X-Kube.*")


@pytest.mark.parametrize("path, name, headers", [
    (SERVICES, "http-401-bad-token.http", {"Authorization": "Bearer bad"}),
    (SERVICES, "http-403-anonymous.http", {}),
    ("/api/v1/secrets", "http-403-rbac.http", {"Authorization": "Bearer good"}),
    ("/api/v1/pods?watch=true", "http-403-rbac-watch.http", {"Authorization": "Bearer good"}),
])
def test_a_refusal_is_the_recorded_one(server, client, path, name, headers):
    server.set_tokens(["good"])
    same_but_date(client.get(path, **headers)[3], name)


@pytest.mark.parametrize("path, name", [
    ("/api/v1/namespaces/v6/services", "http-200-list.http"),
    ("/api/v1/namespaces/kube-system/endpoints", "http-200-list-endpoints.http"),
])
def test_an_answer_with_a_list_is_the_recorded_one(server, client, path, name):
    server.reset()
    server.load(path_of("services-list-after.json"), path_of("endpoints-list-after.json"))
    with Client(server) as again:
        same_but_date(again.get(path)[3], name)


def test_a_long_list_is_compressed_as_recorded(server, client):
    plain = client.get(OLD_SLICES)[2]
    status, headers, body, _ = client.get(OLD_SLICES, Accept_Encoding="gzip")
    expected = recorded("http-200-list-gzip.http").split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    assert status == 200 and gzip.decompress(body) == plain
    assert list(headers) == [line.split(": ")[0] for line in expected]
    assert headers | {"Date": ""} == dict(line.split(": ", 1) for line in expected) | {"Date": ""}


def test_a_compacted_history_is_answered_as_recorded(server, client):
    server.replay(path_of("watch-services.jsonl"))
    advance(server, 1779)
    same_but_date(client.get(f"{SERVICES}?resourceVersion=99999999")[3].replace(b"1779", b"1760"),
                  "http-504-rv-too-large.http")
    server.compact()
    same_but_date(client.get(f"{SERVICES}?resourceVersion=1352&resourceVersionMatch=Exact")[3],
                  "http-410-list-exact.http")
    advance(server, 1787)
    server.compact()
    same_but_date(client.get(f"{SERVICES}?watch=true&resourceVersion=1352")[3], "http-watch-410-gone.http")


def test_going_on_with_an_expired_token_is_answered_as_recorded(server, client):
    expected = json.loads(recorded("http-200-continue-inconsistent.http").split(b"\r\n")[9])
    server.replay(path_of("watch-services.jsonl"))
    server.replay([{"type": "MODIFIED", "object": {"kind": "Service", **item}} for item in expected["items"]
                   if int(item["metadata"]["resourceVersion"]) > 1760])
    advance(server, 1779)
    names = [item["metadata"]["name"] for item in server.objects("services")]
    limit = names.index("kube-dns") + 1
    token = json.loads(client.get(f"{SERVICES}?limit={limit}")[2])["metadata"]["continue"]
    server.put(service("new"))
    server.delete("services", "new", "shop")
    server.compact()
    expired = client.get(f"{SERVICES}?limit=10&continue={token}")
    same_but_date(expired[3], "http-410-continue-expired.http")
    answer = client.get(f"{SERVICES}?limit=10&continue={json.loads(expired[2])['metadata']['continue']}")
    listed = json.loads(answer[2])
    assert listed["items"] == expected["items"]
    assert listed["metadata"]["remainingItemCount"] == expected["metadata"]["remainingItemCount"]


def test_a_watch_of_endpoints_is_the_recorded_one_to_its_last_chunk(server, client):
    lines = re.findall(rb'^\{"type".*\n', recorded("http-watch-endpoints.http"), re.M)
    client.send("/api/v1/namespaces/infra/endpoints?watch=true&resourceVersion=1352&allowWatchBookmarks=true"
                "&timeoutSeconds=0.3")
    server.wait_for_watch("endpoints")
    elsewhere = json.loads(lines[0])
    elsewhere["object"]["metadata"] |= {"namespace": "shop", "resourceVersion": "1756"}
    for event in [*map(json.loads, lines[:3]), elsewhere]:
        server.replay([event])
        time.sleep(0.01)  # one chunk an event: had they been together, so would they be sent
    same_but_date(client.answer()[3], "http-watch-endpoints.http")


@pytest.mark.parametrize("fault, path, name", [
    ({"status": 429}, SERVICES, "http-429.http"),
    ({"status": 500}, SERVICES, "http-500-etcd-stuck.http"),
])
def test_a_fault_with_a_status_alone_answers_as_recorded(server, client, fault, path, name):
    server.faults.add(times=1, **fault)
    same_but_date(client.get(path)[3], name)
    assert client.get(path)[0] == 200


def test_a_starting_server_answers_readyz_as_recorded(server, client):
    server.set(ready=False)
    same_but_date(client.get("/readyz")[3], "http-starting-500-readyz.http")
    server.set(ready=True)
    assert client.get("/readyz")[2] == b"ok"


# What was not recorded.


def test_put_and_delete_reach_lists_and_watches(server, client):
    version = server.resource_version
    client.watch(f"{SERVICES}?resourceVersion={version}")
    made = server.put(service("made", clusterIP="10.96.0.9"))
    changed = server.put(service("made", clusterIP="10.96.0.10"))
    server.delete("services", "made", "shop")
    events = [json.loads(line) for line in client.events(3)]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert [event["object"] for event in events[:2]] == [made, changed]
    assert made["metadata"]["uid"] == changed["metadata"]["uid"]
    assert events[2]["object"]["spec"]["clusterIP"] == "10.96.0.10"
    assert int(events[2]["object"]["metadata"]["resourceVersion"]) == version + 3
    assert server.get("services", "made", "shop") is None
    assert [entry[:4] for entry in server.writes(version)] == [
        [version + 1, "ADDED", "services", "shop/made"], [version + 2, "MODIFIED", "services", "shop/made"],
        [version + 3, "DELETED", "services", "shop/made"]]


@pytest.mark.parametrize("selector, count", [("spec.clusterIP!=None", 53 - 4), ("spec.clusterIP%3DNone", 4)])
def test_services_are_selected_by_cluster_ip(server, client, selector, count):
    headless = [item for item in server.objects("services") if item["spec"].get("clusterIP") == "None"]
    expected = len(headless) if count == 4 else 53 - len(headless)
    assert len(json.loads(client.get(f"{SERVICES}?fieldSelector={selector}")[2])["items"]) == expected


def test_an_unknown_field_is_no_selector(client):
    assert client.get(f"{SERVICES}?fieldSelector=spec.color%3Dred")[0] == 400


def test_a_streaming_list_ends_with_its_bookmark(server, client):
    client.watch(f"{NODES}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                 "&allowWatchBookmarks=true")
    events = [json.loads(line) for line in client.events(6)]
    assert [event["type"] for event in events] == ["ADDED"] * 5 + ["BOOKMARK"]
    assert events[5]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    server.put({"kind": "Node", "metadata": {"name": "new"}})
    assert json.loads(client.events(1)[0])["type"] == "ADDED"


def test_a_streaming_list_may_be_refused_or_ignored(server, client):
    path = (f"{NODES}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            "&allowWatchBookmarks=true")
    server.set(streaming_lists="invalid")
    status, _, body, _ = client.get(f"{path}&watch=true")
    assert (status, json.loads(body)["message"]) == (422, (
        'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden '
        "for watch unless the WatchList feature gate is enabled"))
    server.set(streaming_lists="ignored", bookmark_seconds=0.05)
    client.watch(path)
    last = json.loads(client.events(6)[-1])
    assert last["type"] == "BOOKMARK" and "annotations" not in last["object"]["metadata"]


def test_slices_are_served_in_the_other_version_too(server, client):
    slices = json.loads(client.get(SLICES)[2])
    assert slices["apiVersion"] == "discovery.k8s.io/v1"
    endpoints = [endpoint for item in slices["items"] for endpoint in item["endpoints"] or []]
    assert any(endpoint.get("zone") == "zone-a" for endpoint in endpoints)
    assert not any("topology" in endpoint for endpoint in endpoints)


def test_service_cidrs_may_be_absent(server, client):
    server.put({"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "kubernetes"},
                "spec": {"cidrs": ["10.96.0.0/12"]}})
    path = "/apis/networking.k8s.io/v1/servicecidrs"
    assert json.loads(client.get(path)[2])["items"][0]["spec"] == {"cidrs": ["10.96.0.0/12"]}
    server.set(servicecidrs=False)
    assert client.get(path)[0] == 404


def test_posted_events_are_kept(server, client):
    event = {"metadata": {"generateName": "fairlead."}, "reason": "Tested", "regarding": {"name": "web"}}
    client.send("/apis/events.k8s.io/v1/namespaces/shop/events", "POST", json.dumps(event).encode())
    assert client.answer()[0] == 201
    kept, = server.posted_events()
    assert (kept["reason"], kept["metadata"]["namespace"]) == ("Tested", "shop")


def test_bookmarks_come_when_asked_for(server, client):
    client.watch(f"{SERVICES}?resourceVersion=1352&allowWatchBookmarks=true")
    server.put({"kind": "Node", "metadata": {"name": "new"}})
    server.bookmark()
    assert json.loads(client.events(1)[0]) == {"type": "BOOKMARK", "object": {
        "kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "1353", "creationTimestamp": None},
        "spec": {}, "status": {"loadBalancer": {}}}}


def test_tokens_are_revoked_and_rotated(server):
    server.set_tokens(["old"])
    with Client(server, Authorization="Bearer old") as client:
        assert client.get(SERVICES)[0] == 200
        server.set_tokens({"new": "system:serviceaccount:kube-system:other"})
        assert client.get(SERVICES)[0] == 401
        assert client.get(SERVICES, Authorization="Bearer new")[0] == 200
        server.forbid("services", "list")
        refused = client.get(SERVICES, Authorization="Bearer new")
        assert refused[0] == 403 and b"kube-system:other" in refused[2]
    assert server.requests("services")[1]["status"] == 401


def test_requests_are_logged_and_waited_for(server, client):
    client.get(f"{SERVICES}?limit=500&resourceVersion=0", User_Agent="me")
    entry, = server.wait_for_request("services", "list")
    assert entry["query"] == {"limit": "500", "resourceVersion": "0"} and entry["headers"]["user-agent"] == "me"
    assert entry["status"] == 200 and entry["time_ns"] < time.monotonic_ns()


@pytest.mark.parametrize("how, tail", [
    ("end", b"0\r\n\r\n"), ("unfinished", b"}}}}\n\r\n"), ("mid-object", None), ("reset", b"")])
def test_watches_are_dropped_in_several_ways(server, client, how, tail):
    client.watch(f"{SERVICES}?resourceVersion=1352")
    server.put(service("web"))
    if how == "unfinished":
        tail = client.chunk()[0][-4:]
        client.bytes = tail
    else:
        client.events(1)
    assert server.drop_watches(how=how) == 1
    if how == "end":
        assert client.take(5) == tail and client.get(NODES)[0] == 200
        return
    while client.more():
        pass
    assert client.bytes == tail if tail is not None else client.bytes.count(b"\n") == 1


def test_a_frozen_watch_is_silent_and_goes_on(server, client):
    client.watch(f"{SERVICES}?resourceVersion=1352")
    server.freeze_watches()
    server.put(service("web"))
    client.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.events(1)
    client.sock.settimeout(10)
    server.thaw_watches()
    assert len(client.events(1)) == 1


@pytest.mark.parametrize("fault", [
    {"close": "now"}, {"close": "now", "reset": True}])
def test_a_connection_is_closed_without_an_answer(server, client, fault):
    server.faults.add(resource="services", **fault)
    client.send(SERVICES)
    assert client.take(1) == b""


@pytest.mark.parametrize("fault, expected", [
    ({"close": "mid-object"}, (26000, 25000)), ({"close_after": 5000}, (5100, 5000)),
    ({"close": "unfinished"}, (51300, 51261))])
def test_a_list_is_cut_off(server, client, fault, expected):
    server.faults.add(**fault)
    body = client.get(SERVICES)[2]
    most, least = expected
    assert least <= len(body) + 20 and len(body) <= most and client.more() == b""


def test_a_list_is_truncated_malformed_or_empty(server, client):
    server.faults.add(truncate=3000, times=1)
    assert client.get(SERVICES)[2] == recorded("services-list.json")[:3000]
    server.faults.add(malformed=True, times=1)
    with pytest.raises(ValueError):
        json.loads(client.get(SERVICES)[2])
    server.faults.add(empty=True, times=1)
    assert json.loads(client.get(SERVICES)[2])["items"] == []


def test_a_fault_strikes_as_often_as_it_says(server, client):
    number = server.faults.add(resource="services", verb="list", skip=1, times=2, status=503,
                               headers={"Retry-After": "7"})
    answers = [client.get(SERVICES) for _ in range(4)]
    assert [answer[0] for answer in answers] == [200, 503, 503, 200]
    assert answers[1][1]["Retry-After"] == "7"
    assert client.get(NODES)[0] == 200 and server.faults.struck(number) == 2
    server.faults.clear()
    assert server.faults.list() == []


def test_pages_can_expire(server, client):
    server.faults.add(continued=True, gone="status", times=1)
    token = json.loads(client.get(f"{SERVICES}?limit=20")[2])["metadata"]["continue"]
    status, _, body, _ = client.get(f"{SERVICES}?limit=20&continue={token}")
    assert status == 410 and json.loads(body)["metadata"]["continue"]


def test_an_answer_is_late_slow_or_never_there(server, client):
    server.faults.add(silent=0.1, times=1)
    server.faults.add(drip=4000, times=1)
    server.faults.add(silent="forever")
    begun = time.monotonic()
    assert client.get(f"{NODES}?fieldSelector=metadata.name%3Dnode-1")[0] == 200
    assert time.monotonic() - begun > 0.1
    begun = time.monotonic()
    assert client.get("/version")[0] == 200
    assert time.monotonic() - begun > 0.1
    client.send(SERVICES)
    client.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.more()


@pytest.mark.parametrize("fault, last", [
    ({"gone": "event"}, b'"code":410'), ({"malformed": True}, b"broken")])
def test_a_watch_goes_wrong_after_some_events(server, client, fault, last):
    server.faults.add(verb="watch", after_events=2, **fault)
    client.watch(f"{SERVICES}?resourceVersion=1352")
    for name in ("a", "b"):
        server.put(service(name))
    events = client.events(3)
    assert len(events) == 3 and last in events[2]


def test_a_watch_breaks_in_the_middle_of_an_event(server, client):
    server.faults.add(verb="watch", close="mid-object", after_events=1)
    client.watch(f"{SERVICES}?resourceVersion=1352")
    server.put(service("a"))
    assert len(client.events(1)) == 1
    server.put(service("b"))
    while client.more():
        pass
    assert b'"ADDED"' in client.bytes and not client.bytes.endswith(b"\n\r\n")


def test_a_watch_may_be_answered_410_at_once(server, client):
    server.compact()
    server.set(gone="status")
    assert client.get(f"{SERVICES}?watch=true&resourceVersion=7")[0] == 410


def test_the_server_comes_back_with_half_the_objects(server, client):
    client.watch(f"{SERVICES}?resourceVersion=1352")
    left = server.come_back(lose=0.5)
    assert left["services"] == 27 and client.more() == b""
    with Client(server) as again:
        assert len(json.loads(again.get(SERVICES)[2])["items"]) == 27
        gone = again.get(f"{SERVICES}?watch=true&resourceVersion=1352")[2]
        assert json.loads(gone)["object"]["code"] == 410
    server.come_back(lose=0, backwards=True)
    assert server.resource_version < 2352


def test_the_server_stops_listening_for_a_time(server, client):
    server.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        Client(server)
    assert client.more() == b""
    server.stop_listening(seconds=0.1)

    def served():
        try:
            with Client(server) as again:
                return again.get(NODES)[0] == 200
        except ConnectionRefusedError:
            return False
    wait_for(served, "answer", 5)


def test_a_connection_may_be_accepted_and_left_alone(server):
    server.accept("hang")
    with Client(server) as client:
        client.send(NODES)
        client.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.more()
    server.accept("serve")
    with Client(server) as client:
        assert client.get(NODES)[0] == 200


def test_two_requests_at_once_are_answered_in_order(client):
    client.send(NODES)
    client.send("/version")
    assert b"NodeList" in client.answer()[2] and b"gitVersion" in client.answer()[2]


def test_a_load_of_changes_reaches_a_watch_in_full(server, client):
    version = server.resource_version
    client.watch(f"{OLD_SLICES}?resourceVersion={version}")
    server.start_changes(rate=2000, count=400)
    load = server.finish_changes()
    written = server.writes(version)
    events = [json.loads(line) for line in client.events(len(written))]
    assert load["done"] == 400 and load["last_version"] == written[-1][0]
    assert [event["object"]["metadata"]["resourceVersion"] for event in events] == [
        str(entry[0]) for entry in written]


def test_what_is_misspelt_is_refused(server):
    for wrong in (lambda: server.faults.add(staus=503), lambda: server.set(colour="red"),
                  lambda: server.put({"kind": "Pod", "metadata": {"name": "a"}}),
                  lambda: server.delete("services", "none", "none"), lambda: server.drop_watches(how="softly"),
                  lambda: server.count("svc"), server.changes):
        with pytest.raises(ServerError):
            wrong()


def test_tls_tells_clients_by_token_and_by_certificate():
    with ApiServer(tls=True, tokens=["secret"], client_certificates=True) as server:
        server.put(service("web"))
        context = ssl.create_default_context(cafile=server.certificates.ca)
        with Client(server, context) as client:
            assert client.get(SERVICES)[0] == 403
            assert client.get(SERVICES, Authorization="Bearer secret")[0] == 200
        context.load_cert_chain(server.certificates.client, server.certificates.client_key)
        with Client(server, context) as client:
            assert client.get(SERVICES)[0] == 200
        assert server.requests("services")[-1]["user"] == "system:node:test"
        with Client(server, context) as client:
            server.faults.add(close="unfinished", times=1)
            _, headers, body, _ = client.get(SERVICES)
            assert len(body) == int(headers["Content-Length"]) - 1
        server.certificates.make_ca("another")
        server.certificates.make_server()
        server.renew_certificate()
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(server, context)


def test_a_thread_serves_on_a_socket_that_is_bound_already():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    with ApiServer(listener=sock, load=[path_of("nodes-list.json")]) as server, Client(server) as client:
        assert len(json.loads(client.get(NODES)[2])["items"]) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
def test_a_process_serves_in_another_network_namespace():
    # The namespace is that of a process of ours, which ends with its standard input.
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec cat"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with ApiServerProcess(netns=f"/proc/{holder.pid}/ns/net") as server:
            with pytest.raises(ConnectionRefusedError):
                Client(server)
            asked = (f"import urllib.request; "
                     f"print(urllib.request.urlopen('{server.url}/readyz').read().decode())")
            done = subprocess.run(["nsenter", f"--net=/proc/{holder.pid}/ns/net", sys.executable, "-c", asked],
                                  capture_output=True, text=True, check=True)
            assert done.stdout == "ok\n"
    finally:
        holder.communicate()


def test_the_process_ends_with_whoever_started_it():
    server = ApiServerProcess()
    server.start()
    try:
        server._process.stdin.close()
        server._process.stdin = None
        assert server._process.wait(5) == 0
    finally:
        server.stop()


def test_calls_from_several_threads_do_not_mix(server):
    threads = [threading.Thread(target=lambda name=name: [server.put(service(name)) for _ in range(20)])
               for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.writes(1352)) == 60
