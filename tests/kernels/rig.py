# SPDX-License-Identifier: BSD-2-Clause
"""Debian's kernels in QEMU: what is fetched for them, and one boot.

No KVM is needed: QEMU translates (TCG). The guest's clock counts instructions, a nanosecond each (-icount), and runs
as usual while the guest waits: a deadline of 30 s is 30 thousand million instructions, so tests mean what they mean on
a real machine, however slow and busy this one is.
"""

import ctypes
import dataclasses
import fcntl
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KERNELS_DIR = pathlib.Path(os.environ.get("KERNELS_DIR", "/var/cache/fairlead-kernels"))
# What must be there before the root is mounted; the rest is loaded from the root by name.
EARLY_MODULES = ("virtio_pci", "virtio_rng", "9pnet_virtio", "9p", "overlay")
PR_SET_PDEATHSIG = 1
SCRIPT_LIMIT = 1500  # of a fetch, of a build
UNPACKERS = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}

_libc = ctypes.CDLL(None)


class Missing(Exception):
    """Something that is to be had from elsewhere, and is not there: a reason to skip, not a failure."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """How QEMU is to be an architecture of Debian's."""
    qemu: str
    package: str
    options: tuple
    console: str
    words: tuple
    triplet: str  # of its compiler


# -cpu: few of the newer extensions, whose translation is slow (AVX, a fifth level of pages; pointer authentication).
MACHINES = {
    "amd64": Machine("qemu-system-x86_64", "qemu-system-x86", ("-machine", "q35", "-cpu", "Nehalem"), "ttyS0",
                     ("tsc=reliable", "earlyprintk=serial"), "x86_64-linux-gnu"),
    "arm64": Machine("qemu-system-aarch64", "qemu-system-arm", ("-machine", "virt", "-cpu", "cortex-a72"), "ttyAMA0",
                     (), "aarch64-linux-gnu"),
}


def native_arch():
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def root_of(arch):
    """The files that a guest of this architecture has as its root: this machine's own, or those that `root` made."""
    return pathlib.Path("/") if arch == native_arch() else KERNELS_DIR / f"root-{arch}"


def names():
    """The kernels of the file `kernels`, the oldest first."""
    lines = (HERE / "kernels").read_text().splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def require(command, package):
    path = shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise Missing(f"{command} is not installed (package {package})")
    return path


class Kernel:
    """A kernel that `fetch` has brought."""

    def __init__(self, name, arch):
        self.name, self.arch = name, arch
        self.folder = KERNELS_DIR / f"{name}-{arch}"
        self.machine = MACHINES[arch]

    def fetch(self, children):
        for command, package in ((self.machine.qemu, self.machine.package), ("busybox", "busybox-static"),
                                 ("modprobe", "kmod"), ("cpio", "cpio")):
            require(command, package)
        try:
            KERNELS_DIR.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise Missing(f"{KERNELS_DIR} cannot be made ({problem.strerror}): set KERNELS_DIR") from None
        with open(KERNELS_DIR / "fetch.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            children.script("fetch", self.name, self.arch)

    @property
    def release(self):
        return (self.folder / "release").read_text().strip()

    @property
    def package(self):
        return (self.folder / "package").read_text().strip()

    def early_modules(self):
        """Files, in the order in which they are loaded; what is built into the kernel has none."""
        files = []
        for module in EARLY_MODULES:
            shown = subprocess.run([require("modprobe", "kmod"), "-d", self.folder / "modules", "-S", self.release,
                                    "--show-depends", module], capture_output=True, text=True, check=False)
            for line in shown.stdout.splitlines():
                words = line.split()
                if words[0] == "insmod" and words[1] not in files:
                    files.append(words[1])
        return files

    def initramfs(self):
        """busybox, the early modules and `init`: packed once and kept beside the kernel."""
        image = self.folder / "initramfs"
        if image.exists() and image.stat().st_mtime > max(path.stat().st_mtime for path in HERE.glob("*")):
            return image
        busybox = require("busybox", "busybox-static") if self.arch == native_arch() else root_of(self.arch) / "bin/busybox"
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for made in ("bin", "modules", "dev", "proc", "sys", "lower", "upper", "root"):
                (root / made).mkdir()
            shutil.copy(busybox, root / "bin" / "busybox")
            shutil.copy(HERE / "init", root / "init")
            (root / "init").chmod(0o755)
            order = []
            for number, path in enumerate(map(pathlib.Path, self.early_modules())):
                order.append(f"{number:02}-{path.name.split('.ko')[0]}.ko")
                (root / "modules" / order[-1]).write_bytes(unpacked(path))
            (root / "modules" / "order").write_text("\n".join(order) + "\n")
            files = subprocess.run(["find", ".", "-print0"], cwd=root, capture_output=True, check=True).stdout
            packed = subprocess.run([require("cpio", "cpio"), "--null", "--quiet", "-o", "-H", "newc"], cwd=root,
                                    input=files, capture_output=True, check=True).stdout
        fresh = image.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(packed)
        fresh.replace(image)
        return image


def unpacked(path):
    data = path.read_bytes()
    command = UNPACKERS.get(path.suffix)
    return subprocess.run([command, "-dc"], input=data, capture_output=True, check=True).stdout if command else data


def share(tag, path, read_only=True):
    return ["-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap"
            + (",readonly=on" if read_only else ""), "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def qemu_command(kernel, tree, out, memory, cpus):
    machine = kernel.machine
    # The clock that counts instructions is for one CPU; several have a thread each, and the usual clock.
    clock = ["-accel", "tcg", "-icount", "shift=0,sleep=on", "-rtc", "base=utc,clock=vm"] if cpus == 1 else [
        "-accel", "tcg,thread=multi"]
    words = [f"console={machine.console}", *machine.words, "panic=-1", "random.trust_cpu=on", "mitigations=off",
             "nokaslr", "no_timer_check", "numa=off", "audit=0", "apparmor=0", "nowatchdog", "cryptomgr.notests",
             f"fl_release={kernel.release}"]
    return [require(machine.qemu, machine.package), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            *machine.options, *clock, "-smp", str(cpus), "-m", str(memory),
            "-kernel", str(kernel.folder / "vmlinuz"), "-initrd", str(kernel.initramfs()),
            "-append", " ".join(words), "-serial", f"file:{out / 'console'}", "-device", "virtio-rng-pci",
            *(word for number in (1, 2) for word in (
                "-netdev", f"hubport,id=cable{number},hubid=0", "-device",
                f"virtio-net-pci,netdev=cable{number},romfile=,mac=02:00:00:00:00:0{number}")),
            *share("hostroot", root_of(kernel.arch)), *share("modules", kernel.folder / "modules/lib/modules"),
            *share("tree", tree), *share("out", out, read_only=False)]


def make_way(process):
    """Lets a session be as nice as this process: the scheduler shares CPUs out among sessions first (sched(7), autogroup)."""
    try:
        pathlib.Path(f"/proc/{process.pid}/autogroup").write_text(str(os.nice(0)), encoding="ascii")
    except OSError:
        pass  # a kernel without, or it has ended already


class Children:
    """Processes of this one: ended together, and with it, however that ends."""

    def __init__(self):
        self._running, self._lock, self._ended = set(), threading.Lock(), False

    @property
    def ended(self):
        return self._ended

    def end(self):
        with self._lock:
            self._ended = True
            for process in self._running:
                os.killpg(process.pid, signal.SIGKILL)

    def run(self, command, limit, **popen):
        """Runs a command in a session of its own. Its exit code, or None where it did not end by itself in time."""
        with self._lock:
            if self._ended:
                return None
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True,
                                       preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), **popen)
            self._running.add(process)
        make_way(process)
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with self._lock:
                self._running.discard(process)
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def script(self, name, *arguments):
        """One of the shell scripts beside this file; its last line is the reason where it cannot do its work."""
        with tempfile.TemporaryFile("w+") as output:
            code = self.run([HERE / name, *arguments], SCRIPT_LIMIT, stdout=output, stderr=output,
                            env={**os.environ, "KERNELS_DIR": str(KERNELS_DIR)})
            output.seek(0)
            lines = output.read().strip().splitlines()
        if code is None:
            raise Missing(f"{name} {' '.join(arguments)}: no end within {SCRIPT_LIMIT} s")
        if code:
            raise Missing(lines[-1] if lines else f"{name} ended with {code}")

    def boot(self, kernel, command, tree, out, limit, memory=2048, cpus=1):
        """Runs a command of the shell in /tree. Its exit code, or None and a sentence where there is none."""
        out.mkdir(parents=True, exist_ok=True)
        for name in ("exit", "console", "output"):
            (out / name).unlink(missing_ok=True)
        (out / "command").write_text(f"cd /tree\n{command}\n")
        with open(out / "qemu", "wb") as messages:
            code = self.run(qemu_command(kernel, tree, out, memory, cpus), limit, stdout=messages, stderr=messages)
        if code is None:
            return None, f"no end within {limit} s; the console is {out / 'console'}"
        if (out / "exit").exists() and (out / "exit").read_text().strip():
            return int((out / "exit").read_text()), ""
        last = [line for name in ("qemu", "console") if (out / name).exists()
                for line in (out / name).read_text(errors="replace").splitlines() if line.strip()]
        return None, f"the guest ended without a result: {last[-1] if last else 'no output'}; see {out / 'console'}"


def end_as_interrupted():
    """`kill` and a closed terminal end this process as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit("rig: this is a part of boot and scripts/check-kernels")
