# SPDX-License-Identifier: BSD-2-Clause
"""A log that nobody reads costs lines, never the agent."""

import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess

import pytest

from http_get import HEALTH, answers
from lab import DEADLINE, Agent, wait_for
from manifests import Folder, next_vip, service, slice_


def pipe():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 16384)
    return reader, writer


def stream_socket():
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


def fill(writer):
    """Writes until there is no room, with nothing but lines of x."""
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 63 + b"\n")
    except BlockingIOError:
        pass
    finally:
        os.set_blocking(writer, True)


def make_a_little_room(reader, writer):
    """So little that poll() says that there is room, and a write of a few lines waits."""
    poll = select.poll()
    poll.register(writer, select.POLLOUT)
    while not poll.poll(20):  # the kernel makes room a moment after a read
        os.read(reader, 64)


@pytest.fixture(params=["pipe", "terminal", "socket"])
def output(request):
    """(reader, writer) of an output that is full, or a terminal that is full after a few lines and a part of one."""
    reader, writer = {"pipe": pipe, "terminal": pty.openpty, "socket": stream_socket}[request.param]()
    fill(writer)
    if request.param == "terminal":
        make_a_little_room(reader, writer)
    yield reader, writer
    assert os.get_blocking(writer), "the agent changed what it shares with others"
    os.close(reader)
    os.close(writer)


@pytest.fixture
def unread(lab, output):
    """Starts an agent on node2 that logs into the full output, and waits until it answers."""
    made = []

    def start(*options):
        agent = Agent(lab, "node2", Folder(lab.directory / f"manifests{len(options)}").path,
                      "--hooks", "socket", "-v", "3", *options)
        agent.pin_dir.parent.mkdir(parents=True, exist_ok=True)
        agent.process = lab.place("node2").start(*agent.command(), stdin=subprocess.DEVNULL, stderr=output[1])
        made.append(agent)
        wait_for(lambda: answers(lab.place("node2"), HEALTH + "/livez"), "an answer of an agent that cannot log")
        return agent

    yield start
    for agent in made:
        if agent.running():
            agent.process.kill()
            agent.process.wait(DEADLINE)
        assert agent.cleanup().returncode == 0


@pytest.fixture(scope="module")
def served(lab):
    lab.serve("pod2b", ports=[8080])
    return lab


def drained(reader):
    """What is in the output."""
    text = b""
    os.set_blocking(reader, False)
    try:
        while True:
            text += os.read(reader, 1 << 16)
    except BlockingIOError:
        return text.decode()
    finally:
        os.set_blocking(reader, True)


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_agent_whose_log_nobody_reads_goes_on_and_says_how_much_was_lost(served, unread, output, form):
    reader, node = output[0], served.place("node2")
    agent = unread("--log-format", form)
    folder = Folder(agent.manifests)
    vip = next_vip(4)
    folder.write("web.yaml", service("web", vip), slice_("web", ["pod2b"]))
    wait_for(lambda: "answer" in node.ask(vip), "the change")

    drained(reader)
    folder.write_text("broken.yaml", "kind: [")
    text = ""

    def said():
        nonlocal text
        text += drained(reader)
        return "broken" in text

    wait_for(said, "a line of the log that is read again")
    assert re.search(r"\d+ lines were lost from this log: nobody read it", text), text
    folder.remove("web.yaml")
    folder.remove("broken.yaml")
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(DEADLINE) == 0


def test_sigterm_ends_an_agent_whose_log_nobody_reads(unread):
    agent = unread()
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(DEADLINE) == 0
