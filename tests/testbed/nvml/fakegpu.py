# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with stand-in GPUs: builds the library, makes a host's state, runs programs on it. Standard library only.

    python3 fakegpu.py build DIR                 libnvidia-ml.so.1 and nvidia-smi (needs gcc)
    python3 fakegpu.py host DIR BOARD...         a host with these GPUs (A100-40 A100-80 A30 H100-80 H200 T4); state in DIR
    python3 fakegpu.py run DIR COMMAND...        a command on that host, with its sysfs and /proc/modules (needs root, util-linux)
    python3 fakegpu.py install BOARD...          makes this very machine such a host (a test node, never a real one)

As a module: `host = Host.make(directory, ["A100-40"])`, then `host.env()`, `host.faults(...)`, `host.calls()`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Board -> (vendor, device, subsystem) for the sysfs of programs that look for GPUs there (go-nvlib).
PCI = {"A100-40": 0x20F1, "A100-80": 0x20B2, "A30": 0x20B7, "H100-80": 0x2330, "H200": 0x2335, "T4": 0x1EB8}

#: Runs "$@" with DIR's PCI devices over the real ones and a /proc that holds what mig-parted reads and nothing else: where the
#: kernel has no /proc/modules, none can be added to procfs.
_ENTER = """
mount --make-rprivate / && mount --bind "$FAKE_NVML_DIR/pci" /sys/bus/pci/devices &&
mount --bind "$FAKE_NVML_DIR/proc" /proc && exec "$@"
"""


def build(directory: Path) -> Path:
    """Compiles the library and nvidia-smi into `directory` unless they are newer than their sources; returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    sources = [HERE / name for name in ("fake_nvml.c", "boards.h", "nvidia_smi.c")]
    flags = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]
    library, smi = directory / "libnvidia-ml.so.1", directory / "nvidia-smi"
    if all(out.exists() and out.stat().st_mtime > max(s.stat().st_mtime for s in sources) for out in (library, smi)):
        return directory
    shared = ["-shared", "-fPIC", "-fvisibility=hidden", f"-Wl,-soname,{library.name}"]
    for out, extra in ((library, [*shared, str(sources[0])]), (smi, [str(sources[2]), "-ldl"])):
        fresh = out.with_name(f"{out.name}.{os.getpid()}")
        subprocess.run([*flags, "-o", str(fresh), *extra], check=True)
        fresh.rename(out)
    return directory


@dataclass(frozen=True)
class Host:
    """A directory that a stand-in library takes for its host."""

    directory: Path
    programs: Path

    @classmethod
    def make(cls, directory: Path, boards: t.Sequence[str], programs: Path | None = None) -> Host:
        """A fresh host: all GPUs whole, MIG off. `programs`: where build() put the library."""
        unknown = [board for board in boards if board not in PCI]
        if unknown:
            raise SystemExit(f"no stand-in for {', '.join(unknown)}; there are {', '.join(PCI)}")
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)
        host = cls(directory, programs or build(directory / "programs"))
        for name in ("state", "faults", "busy", "trace"):
            (directory / name).unlink(missing_ok=True)
        (directory / "gpus").write_text("\n".join(boards) + "\n")
        shutil.rmtree(directory / "pci", ignore_errors=True)
        for index, board in enumerate(boards):
            device = directory / "pci" / f"0000:{7 + 16 * index:02x}:00.0"
            device.mkdir(parents=True)
            for name, text in {
                "vendor": "0x10de", "device": f"0x{PCI[board]:04x}", "class": "0x030200", "numa_node": str(index % 2),
                "subsystem_vendor": "0x10de", "subsystem_device": "0x145f", "resource": "0x0 0x0 0x0",
            }.items():  # fmt: skip
                (device / name).write_text(text + "\n")
            (device / "config").write_bytes(bytes(256))
        caps = directory / "proc" / "driver" / "nvidia-caps"
        caps.mkdir(parents=True, exist_ok=True)
        (directory / "proc" / "modules").write_text("nvidia 1 0 - Live 0x0\n")
        (caps / "mig-minors").write_text("\n".join(_minors(len(boards))) + "\n")
        return host

    def env(self, **more: str) -> dict[str, str]:
        """The environment of a program on this host."""
        path = f"{self.programs}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        return {
            **os.environ, "FAKE_NVML_DIR": str(self.directory), "LD_LIBRARY_PATH": str(self.programs), "PATH": path, **more,
        }  # fmt: skip

    def command(self, *command: str) -> list[str]:
        """The command inside a mount namespace with this host's sysfs and /proc. It sees no processes."""
        return ["unshare", "--mount", "sh", "-c", _ENTER, "sh", *command]

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*command), env=self.env(**more), text=True, capture_output=True, check=False, timeout=300
        )

    def faults(self, *lines: str) -> None:
        (self.directory / "faults").write_text("\n".join(lines) + "\n")

    def busy(self, *lines: str) -> None:
        """Lines `GPU GI CI PID`; -1 stands for any. The process must live."""
        (self.directory / "busy").write_text("\n".join(lines) + "\n")

    @property
    def trace(self) -> Path:
        return self.directory / "trace"

    def calls(self) -> Counter[str]:
        """Names of the NVML calls in the trace (given to the program as FAKE_NVML_TRACE)."""
        return Counter(line.split()[2] for line in self.trace.read_text().splitlines()) if self.trace.exists() else Counter()


def _minors(gpus: int) -> list[str]:
    """/proc/driver/nvidia-caps/mig-minors: a device file for each instance that could be."""
    lines, minor = ["config 1", "monitor 2"], 3
    for gpu in range(gpus):
        for gi in range(15):
            lines.append(f"gpu{gpu}/gi{gi}/access {minor}")
            minor += 1
            for ci in range(8):
                lines.append(f"gpu{gpu}/gi{gi}/ci{ci}/access {minor}")
                minor += 1
    return lines


def install(boards: t.Sequence[str]) -> None:
    """Makes this machine a host with stand-in GPUs; refuses where a real driver is."""
    if Path("/dev/nvidiactl").exists():
        raise SystemExit("this machine has an NVIDIA driver; a stand-in over it would hide the real GPUs")
    host = Host.make(Path("/var/lib/fake-nvml"), boards)
    libraries = Path("/usr/lib/x86_64-linux-gnu")
    shutil.copy2(host.programs / "libnvidia-ml.so.1", libraries if libraries.is_dir() else Path("/usr/lib64"))
    shutil.copy2(host.programs / "nvidia-smi", "/usr/bin/nvidia-smi")
    subprocess.run(["ldconfig"], check=True)


def main(arguments: list[str]) -> int:
    verb, rest = arguments[:1], arguments[1:]
    if verb == ["build"] and len(rest) == 1:
        build(Path(rest[0]))
    elif verb == ["host"] and len(rest) > 1:
        Host.make(Path(rest[0]).resolve(), rest[1:])
    elif verb == ["run"] and len(rest) > 1:
        host = Host(Path(rest[0]).resolve(), Path(rest[0]).resolve() / "programs")
        return subprocess.run(host.command(*rest[1:]), env=host.env(), check=False).returncode
    elif verb == ["install"] and rest:
        install(rest)
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
