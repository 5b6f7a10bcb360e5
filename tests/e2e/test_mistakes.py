# SPDX-License-Identifier: BSD-2-Clause
"""An agent with a folder of manifests and no API server that would check and complete them."""

import itertools

import pytest

from lab import DEADLINE, Agent, wait_for
from manifests import Folder, next_vip, service, slice_

_names = itertools.count()


class FolderAgent(Agent):
    """An agent with a folder and pins of its own."""

    def __init__(self, lab, *options):
        self.directory = lab.directory / f"folder-{next(_names)}"
        self.folder = Folder(self.directory / "manifests")
        super().__init__(lab, "node1", self.folder.path, "--hooks", "socket",
                         "--state-dir", self.directory / "state", *options)
        self.pin_dir = self.directory / "pins"

    def end_status(self):
        """The exit status of an agent that ends by itself."""
        self.start(ready=False)
        status = self.process.wait(DEADLINE)
        self.wanted = False
        self._reader.join(DEADLINE)
        self.check_sanitizers()
        return status

    def vips(self):
        return {address for address, _, _ in self.frontends()}


@pytest.fixture
def make(lab):
    made = []

    def one(*options):
        made.append(FolderAgent(lab, *options))
        return made[-1]

    yield one
    for agent in made:
        if agent.running():
            agent.stop()
        agent.cleanup()


# Refusing.


def test_with_strict_a_mistake_at_the_start_ends_the_agent_with_its_sentence(make):
    agent = make("--strict")
    agent.folder.write("web", service("web", next_vip(4), prots=[]))
    agent.folder.write("good", service("good", next_vip(4)))
    assert agent.end_status() == 1
    assert "web.yaml:1: Service default/web: unknown field spec.prots, did you mean ports?" in agent.text()
    assert f"--strict refuses 1 of the 2 manifests of {agent.folder.path}: correct them" in agent.text()


def test_with_strict_a_change_with_a_mistake_is_refused_and_the_state_before_it_stays(make):
    agent = make("--strict")
    vip, other = next_vip(4), next_vip(4)
    agent.folder.write("web", service("web", vip), slice_("web", ["10.244.9.1"]))
    agent.start()
    agent.folder.write("web", service("web", other, prots=[]), slice_("web", ["10.244.9.1"]))
    agent.wait_for_log("web.yaml: refused because of --strict; the objects it had before stay in use")
    assert "unknown field spec.prots, did you mean ports?" in agent.text()
    assert agent.vips() == {vip}
    agent.folder.write("web", service("web", other), slice_("web", ["10.244.9.1"]))
    wait_for(lambda: agent.vips() == {other}, "the corrected file's ClusterIP")
