# SPDX-License-Identifier: BSD-2-Clause
"""A log that nobody reads costs lines, never the agent."""

import fcntl
import itertools
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

_numbers = itertools.count()


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


def has_room(writer, timeout_ms=0):
    """What poll() says, though a write of more than there is room for waits."""
    poll = select.poll()
    poll.register(writer, select.POLLOUT)
    return poll.poll(timeout_ms)


@pytest.fixture(params=["pipe", "terminal", "socket"])
def output(request):
    """(reader, writer) of an output that is full, or a terminal that is full after some lines and a part of one."""
    reader, writer = {"pipe": pipe, "terminal": pty.openpty, "socket": stream_socket}[request.param]()
    fill(writer)
    while request.param == "terminal" and not has_room(writer, 20):  # the kernel makes it a moment after a read
        os.read(reader, 64)
    yield reader, writer
    assert os.get_blocking(writer), "the agent changed what it shares with others"
    os.close(reader)
    os.close(writer)


@pytest.fixture
def unread(lab, output):
    """Starts an agent on node2 that logs into the output until that is full, and waits until it answers."""
    made = []
    vip = next_vip(4)

    def start(*options):
        folder = Folder(lab.directory / f"manifests{next(_numbers)}")
        agent = Agent(lab, "node2", folder.path, "--hooks", "socket", "-v", "3", *options)
        agent.pin_dir.parent.mkdir(parents=True, exist_ok=True)
        agent.process = lab.place("node2").start(*agent.command(), stdin=subprocess.DEVNULL, stderr=output[1])
        made.append(agent)

        def is_full():
            folder.write("filler", service("filler", vip, [{"port": 1 + next(_numbers) % 1000}]))
            return not has_room(output[1])

        wait_for(is_full, "an output that a line of the log has filled to the brim", pause=0.02)
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

    text = drained(reader)
    folder.write_text("broken.yaml", "kind: [")

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
