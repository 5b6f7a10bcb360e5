# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures: each test module has a lab of its own, and a world in it for each set of hooks."""

import os

import pytest

from lab import Lab, end_in_order
from world import World


def pytest_configure(config):
    config.addinivalue_line("markers", "hooks(*names): run only with these of the module's HOOKS")
    end_in_order()
    if os.geteuid() != 0:
        pytest.exit("these tests make network namespaces and load BPF programs: run them as root", 2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows what the agents of its world said."""
    outcome = yield
    report = outcome.get_result()
    world = item.funcargs.get("world") if hasattr(item, "funcargs") else None
    if report.failed and isinstance(world, World):
        report.sections.append(("agents", world.logs()))


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


def hooks_of(module):
    return getattr(module, "HOOKS", ["socket,tc"])


def pytest_generate_tests(metafunc):
    """A module says which hooks its tests run with, HOOKS; a test may narrow that: mark.hooks(...)."""
    if "shared_world" in metafunc.fixturenames:
        hooks = hooks_of(metafunc.module)
        marker = metafunc.definition.get_closest_marker("hooks")
        if marker:
            hooks = [hook for hook in hooks if hook in marker.args]
        metafunc.parametrize("shared_world", hooks, indirect=True, scope="module",
                             ids=[hook.replace(",", "+") for hook in hooks])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Tests with the same hooks go together: pytest only groups them by the place in each test's list."""
    modules = list(dict.fromkeys(item.module for item in items))

    def place(item):
        params = item.callspec.params if hasattr(item, "callspec") else {}
        hooks = params.get("shared_world")
        return modules.index(item.module), hooks_of(item.module).index(hooks) if hooks else -1

    items.sort(key=place)


@pytest.fixture(scope="module")
def shared_world(request):
    options = getattr(request.module, "OPTIONS", [])
    with World(request.param, *options) as made:
        yield made


@pytest.fixture
def world(shared_world):
    """The module's world, emptied after each test, which must not have leaked to the wire."""
    shared_world.leaked()
    yield shared_world
    leaked = shared_world.leaked()
    shared_world.clear()
    assert not leaked, f"{len(leaked)} frames for a ClusterIP left a node untranslated: {leaked[:3]}"
