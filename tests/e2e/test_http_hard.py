# SPDX-License-Identifier: BSD-2-Clause
"""Clients that are slow, silent, greedy or broken: each server goes on answering everybody else."""

import contextlib
import json
import re
import subprocess
import sys

import pytest

from http_get import get
from lab import DEADLINE, Agent, wait_for
from manifests import Folder

PER_ADDRESS = 16  # connections that a server takes from one address
IDLE_S = 10       # for so long a server waits for a client

each_server = pytest.mark.parametrize("port,path", [(10256, "/livez"), (10249, "/metrics")], ids=["health", "metrics"])

_RAW = """
import json, socket, sys, time
address, port, pieces, pause, half_close = json.load(sys.stdin)
begun = time.monotonic()
answer = b""
with socket.create_connection((address, port), timeout=30) as sock:
    try:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(pause)
            sock.sendall(piece.encode())
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(1 << 16):
            answer += data
    except (BrokenPipeError, ConnectionResetError):
        pass
print(json.dumps([answer.decode(), time.monotonic() - begun]))
"""

_HOLD = """
import socket, sys
held = []
for source in sys.argv[3].split(","):
    for _ in range(int(sys.argv[4])):
        held.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5, source_address=(source, 0)))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def node(lab):
    """A node with an agent whose two servers are open to all."""
    agent = Agent(lab, "node1", Folder(lab.directory / "manifests").path, "--hooks", "socket",
                  "--metrics-bind-address", "0.0.0.0:10249")
    agent.start()
    yield lab.place("node1")
    agent.stop()
    assert agent.cleanup().returncode == 0


def raw(place, address, port, *pieces, pause=0.0, half_close=False):
    """What a server answers to these bytes until it closes the connection, and how long that took."""
    request = json.dumps([address, port, pieces, pause, half_close])
    with place.start(sys.executable, "-c", _RAW, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        return json.loads(process.communicate(request, DEADLINE)[0])


@contextlib.contextmanager
def held(place, address, port, sources, each):
    """Connections from these addresses of a place that ask nothing."""
    process = place.start(sys.executable, "-c", _HOLD, address, port, ",".join(sources), each, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.stdin.close()
        process.wait(DEADLINE)


def request(path, *headers, method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: node", *headers, "", ""])


@pytest.fixture(scope="module")
def many_addresses(lab):
    """The client outside, with as many addresses as fill a server's table."""
    client = lab.place("client")
    addresses = [f"172.18.1.{host}" for host in range(1, 41)]
    for address in addresses:
        client.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
    lab.place("node1").run("ip", "route", "add", "172.18.1.0/24", "via", client.address(4))
    return addresses


@each_server
@pytest.mark.parametrize("count", [5, 40])
def test_idle_connections_of_many_addresses_keep_nobody_from_an_answer(lab, node, many_addresses, port, path, count):
    """As many as there may be and more, while they are there and after they have gone."""
    address, client = node.address(4), lab.place("client")
    with held(client, address, port, many_addresses[:count], PER_ADDRESS):
        for place in (node, lab.place("node2"), lab.place("pod1a")):
            assert get(place, f"http://{address}:{port}{path}").status == 200
    for _ in range(3):
        assert get(client, f"http://{address}:{port}{path}").status == 200


@each_server
def test_an_idle_connection_is_closed(lab, node, port, path):
    answer, seconds = raw(lab.place("client"), node.address(4), port)
    assert answer == "" and seconds < 2 * IDLE_S
    assert get(node, f"http://127.0.0.1:{port}{path}").status == 200


@each_server
def test_a_slow_request_is_answered(node, port, path):
    text = request(path, "Connection: close")
    pieces = [text[at:at + 8] for at in range(0, len(text), 8)]
    answer, _ = raw(node, "127.0.0.1", port, *pieces, pause=0.2)
    assert answer.startswith("HTTP/1.1 200 ")


@each_server
def test_a_huge_request_is_refused(node, port, path):
    for text in (request(path, "X-Long: " + "x" * (1 << 20)), request("/" + "x" * (1 << 20)),
                 request(path, *[f"X-{number}: x" for number in range(1 << 16)])):
        answer, seconds = raw(node, "127.0.0.1", port, text)
        assert "200 OK" not in answer and seconds < IDLE_S
        assert get(node, f"http://127.0.0.1:{port}{path}").status == 200


@each_server
def test_a_body_is_read_and_ignored(node, port, path):
    body = "x" * (1 << 20)
    answer, _ = raw(node, "127.0.0.1", port, request(path, f"Content-Length: {len(body)}", "Connection: close") + body)
    assert answer.startswith("HTTP/1.1 200 ")


@each_server
def test_pipelined_requests_are_all_answered_in_their_order(node, port, path):
    asked = [path, "/nowhere"] * 8
    text = "".join(map(request, asked)) + request(path, "Connection: close")
    answer, _ = raw(node, "127.0.0.1", port, text)
    codes = re.findall(r"HTTP/1\.1 (\d+)", answer)
    assert codes == ["200", "404"] * 8 + ["200"]


@each_server
def test_a_half_closed_request_is_answered(node, port, path):
    answer, seconds = raw(node, "127.0.0.1", port, request(path, "Connection: close"), half_close=True)
    assert answer.startswith("HTTP/1.1 200 ") and seconds < IDLE_S


@each_server
@pytest.mark.parametrize("text", ["\x00\x01\x02\x03" * 64 + "\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                  "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                                  "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"],
                         ids=["binary", "cut", "http2", "negative", "chunk"])
def test_what_is_no_http_ends_its_connection_only(node, port, path, text):
    raw(node, "127.0.0.1", port, text, half_close=True)
    wait_for(lambda: get(node, f"http://127.0.0.1:{port}{path}").status == 200, "an answer", DEADLINE)
