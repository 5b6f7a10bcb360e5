# SPDX-License-Identifier: BSD-2-Clause
"""A log that nobody reads costs lines, never the agent."""

import fcntl
import os
import re
import signal
import subprocess

import pytest

from http_get import HEALTH, answers
from lab import DEADLINE, Agent, wait_for
from manifests import Folder, next_vip, service, slice_

@pytest.fixture
def pipe():
    """A pipe that is full."""
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 16384)
    os.write(writer, b"x" * (size - 1) + b"\n")
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def unread(lab, pipe):
    """Starts an agent on node2 that logs into the full pipe, and waits until it answers."""
    made = []

    def start(*options):
        agent = Agent(lab, "node2", Folder(lab.directory / f"manifests{len(options)}").path, "--hooks", "socket", *options)
        agent.pin_dir.parent.mkdir(parents=True, exist_ok=True)
        agent.process = lab.place("node2").start(*agent.command(), stdin=subprocess.DEVNULL, stderr=pipe[1])
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
    """What is in the pipe."""
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 1 << 16).decode()
    except BlockingIOError:
        return ""
    finally:
        os.set_blocking(reader, True)


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_agent_whose_log_nobody_reads_goes_on_and_says_how_much_was_lost(served, unread, pipe, form):
    reader, node = pipe[0], served.place("node2")
    agent = unread("--log-format", form)
    folder = Folder(agent.manifests)
    vip = next_vip(4)
    folder.write("web.yaml", service("web", vip), slice_("web", ["pod2b"]))
    wait_for(lambda: "answer" in node.ask(vip), "the change")

    assert set(drained(reader)) <= {"x", "\n"}
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
