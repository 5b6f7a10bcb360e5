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
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"x" * 4095 + b"\n")
    yield reader, writer
    os.close(reader)
    os.close(writer)


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
def test_an_agent_whose_log_nobody_reads_goes_on_and_says_how_much_was_lost(lab, pipe, form):
    reader, writer = pipe
    node = lab.place("node2")
    folder = Folder(lab.directory / f"manifests-{form}")
    agent = Agent(lab, "node2", folder.path, "--hooks", "socket", "--log-format", form)
    agent.pin_dir.parent.mkdir(parents=True, exist_ok=True)
    agent.process = node.start(*agent.command(), stdin=subprocess.DEVNULL, stderr=writer)
    wait_for(lambda: answers(node, HEALTH + "/livez"), "an answer of an agent that cannot log")
    lab.serve("pod2b", ports=[8080])
    vip = next_vip(4)
    folder.write("web.yaml", service("web", vip), slice_("web", ["pod2b"]))
    wait_for(lambda: "answer" in node.ask(vip), "the change")

    assert set(drained(reader)) <= {"x", "\n"}
    folder.write("broken.yaml", service("broken", "not an address"))
    text = ""

    def said():
        nonlocal text
        text += drained(reader)
        return "broken" in text

    wait_for(said, "a line of the log that is read again")
    assert re.search(r"(\d+) lines of this log were lost", text), text
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(DEADLINE) == 0
    assert agent.cleanup().returncode == 0


def test_sigterm_ends_an_agent_whose_log_nobody_reads(lab, pipe):
    agent = Agent(lab, "node2", Folder(lab.directory / "manifests-end").path, "--hooks", "socket")
    agent.pin_dir.parent.mkdir(parents=True, exist_ok=True)
    agent.process = lab.place("node2").start(*agent.command(), stdin=subprocess.DEVNULL, stderr=pipe[1])
    wait_for(lambda: answers(lab.place("node2"), HEALTH + "/livez"), "an answer of an agent that cannot log")
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(DEADLINE) == 0
    assert agent.cleanup().returncode == 0
