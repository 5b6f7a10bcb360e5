# SPDX-License-Identifier: BSD-2-Clause
"""What `make demo` asks before it installs and builds: a machine that cannot run it gets one sentence."""

import shutil
import subprocess

import pytest

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Nobody, who may read this tree wherever it is.
AS_NOBODY = [shutil.which("setpriv"), "--reuid", "65534", "--clear-groups",
             "--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search"]
WITHOUT_CGROUP = ["unshare", "--mount", "sh", "-c", 'umount --all --lazy --types cgroup2 && exec "$@"', "sh"]


def run(*command, **options):
    return subprocess.run([*command], capture_output=True, text=True, check=False, cwd=ROOT, **options)


def test_the_check_of_a_machine_that_can_run_the_demo_says_nothing():
    done = run("scripts/demo", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("on, sentence", [
    (AS_NOBODY, "demo: it makes network namespaces and loads BPF programs: run it as root (sudo make demo)"),
    (WITHOUT_CGROUP, "demo: no cgroup v2 is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup (or boot with systemd)"),
], ids=["nobody", "no-cgroup"])
def test_the_check_says_in_a_sentence_why_the_demo_cannot_run(on, sentence):
    done = run(*on, "scripts/demo", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence + "\n")


@pytest.fixture
def setup(tmp_path):
    """scripts/setup demo as nobody, without sudo, with what is in a folder for its PATH."""
    for tool in ("id", "grep", "sed", "dirname", "dpkg-query", "apt-get"):
        (tmp_path / tool).symlink_to(shutil.which(tool))

    def start():
        return run(*AS_NOBODY, "scripts/setup", "demo", env={"PATH": str(tmp_path)})

    start.path = tmp_path
    return start


def test_setup_for_the_demo_asks_for_nothing_where_everything_is_installed(setup):
    done = setup()
    assert (done.returncode, done.stdout, done.stderr) == (0, "setup: everything is installed\n", "")


def test_setup_for_the_demo_names_what_it_cannot_install_and_nothing_of_the_tests(setup):
    (setup.path / "dpkg-query").unlink()
    (setup.path / "dpkg-query").write_text("#!/bin/sh\n")
    (setup.path / "dpkg-query").chmod(0o755)
    done = setup()
    assert done.returncode == 1
    named = done.stderr.removeprefix("setup: neither root nor sudo is there to install: ").split()
    assert {"make", "clang", "libbpf-dev", "python3"} <= set(named), done.stderr
    assert not {"libcmocka-dev", "python3-pytest", "prometheus"} & set(named)


def test_setup_on_another_distribution_says_what_to_install(setup):
    (setup.path / "apt-get").unlink()
    done = setup()
    assert done.returncode == 1
    assert done.stderr.startswith("setup: this is neither Debian nor Ubuntu: install what these packages hold:\nbpftool make ")
