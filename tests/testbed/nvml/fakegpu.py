# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with stand-in GPUs: builds the library, makes a host's state, runs programs on it. Standard library only.

    python3 fakegpu.py build DIR                 libnvidia-ml.so.1 and nvidia-smi (needs gcc)
    python3 fakegpu.py host DIR BOARD...         a host with these GPUs (see PCI below); state in DIR
    python3 fakegpu.py run DIR COMMAND...        a command on that host, with its sysfs and /proc/modules (needs root, util-linux)
    python3 fakegpu.py install BOARD...          makes this very machine such a host (a test node, never a real one), for good
    python3 fakegpu.py boot                      what its kernel would have at each boot; install has a unit for it

As a module: `host = Host.make(directory, ["A100-40"])`, then `host.env()`, `host.faults(...)`, `host.calls()`.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import typing as t
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Board -> (vendor, device, subsystem) for the sysfs of programs that look for GPUs there (go-nvlib).
PCI = {
    "A100-40": 0x20F1,
    "A100-80": 0x20B2,
    "A30": 0x20B7,
    "H100-80": 0x2330,
    "H200": 0x2335,
    "B200": 0x2901,
    "RTX-PRO-6000": 0x2BB5,
    "T4": 0x1EB8,
}

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
        # Collecting garbage takes a third of the time of a Go program that reads the list of all PCI devices and ends.
        environment = self.env(GOGC="off", **more)
        return subprocess.run(self.command(*command), env=environment, text=True, capture_output=True, check=False, timeout=300)

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


#: Where `install` puts things.
INSTALLED = Path("/var/lib/fake-nvml")
DRIVER = "580.65.06"
UNIT = """\
[Unit]
Description=Stand-in for the NVIDIA kernel driver (gpufleet.k8s test bed)
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/python3 {script} boot

[Install]
WantedBy=sysinit.target
"""
#: The real unit asks the kernel's list of modules for nvidia.ko.
REFRESH = """\
[Service]
ExecCondition=
ExecCondition=/usr/bin/test -e /dev/nvidiactl
"""
#: A container gets a procfs of its own, in which a real driver would have its files as well. Nothing can be added to a procfs
#: but a mount, and runc refuses those; so this stands before runc and adds a hook, and the folder that the driver's state is in.
#: nvidia-container-runtime calls it (`runtimes` in /etc/nvidia-container-runtime/config.toml).
RUNC = """\
#!/usr/bin/python3
# Stand-in for what NVIDIA's kernel driver adds to each procfs (gpufleet.k8s test bed): runs runc.
import json, os, subprocess, sys
if sys.argv[1:] == ["hook"]:
    bundle = json.load(sys.stdin)["bundle"]
    root = json.load(open(bundle + "/config.json"))["root"]["path"]
    subprocess.run(["mount", "--bind", "{state}/proc/driver", os.path.join(bundle, root, "proc/driver")], check=True)
    sys.exit()
if "create" in sys.argv:
    path = sys.argv[sys.argv.index("--bundle") + 1] + "/config.json"
    spec = json.load(open(path))
    mount = dict(destination="{state}", source="{state}", type="bind", options=["rbind", "rw"])
    spec.setdefault("mounts", []).append(mount)
    hook = dict(path=os.path.realpath(__file__), args=["runc", "hook"], env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    spec.setdefault("hooks", dict()).setdefault("createContainer", []).append(hook)
    json.dump(spec, open(path, "w"))
os.execvp("runc", ["runc", *sys.argv[1:]])
"""


def install(boards: t.Sequence[str]) -> None:
    """Makes this machine a host with stand-in GPUs; refuses where a real driver is."""
    if Path("/dev/nvidiactl").exists() and Path("/dev/nvidiactl").stat().st_rdev != os.makedev(*NULL):
        raise SystemExit("this machine has an NVIDIA driver; a stand-in over it would hide the real GPUs")
    host = Host.make(INSTALLED, boards, HERE / "programs")
    libraries = next(Path("/usr/lib").glob("*-linux-gnu"), Path("/usr/lib64"))
    shutil.copy2(host.programs / "libnvidia-ml.so.1", libraries / f"libnvidia-ml.so.{DRIVER}")
    (libraries / "libnvidia-ml.so.1").unlink(missing_ok=True)
    (libraries / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{DRIVER}")
    shutil.copy2(host.programs / "nvidia-smi", "/usr/bin/nvidia-smi")
    subprocess.run(["ldconfig"], check=True)
    runc = Path("/usr/local/sbin/runc-stand-in")
    files = {
        Path("/etc/systemd/system/nvidia-stand-in.service"): UNIT.format(script=HERE / "fakegpu.py"),
        Path("/etc/systemd/system/nvidia-cdi-refresh.service.d/stand-in.conf"): REFRESH,
        runc: RUNC.replace("{state}", str(INSTALLED)),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    runc.chmod(0o755)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "enable", "--quiet", "--now", "nvidia-stand-in.service"], check=True)


NULL = (1, 3)  # the device that stands for each of the driver's: it exists, and does nothing


def boot() -> None:
    """Device files, sysfs and procfs as the driver makes them; instances do not survive a boot, the mode (Ampere) does."""
    boards = (INSTALLED / "gpus").read_text().split()
    caps = Path("/dev/nvidia-caps")
    caps.mkdir(exist_ok=True)
    names = ["nvidiactl", "nvidia-uvm", *(f"nvidia{index}" for index in range(len(boards)))]
    minors = [line.rsplit(" ", 1)[1] for line in _minors(len(boards))]
    for path in [*(caps.parent / name for name in names), *(caps / f"nvidia-cap{minor}" for minor in minors)]:
        if not path.exists():
            os.mknod(path, stat.S_IFCHR, os.makedev(*NULL))
            path.chmod(0o666)
    for source, target in ((INSTALLED / "pci", "/sys/bus/pci/devices"), (INSTALLED / "proc" / "driver", "/proc/driver")):
        if not os.path.ismount(target):
            subprocess.run(["mount", "--bind", source, target], check=True)
    for device in sorted(path.name for path in (INSTALLED / "pci").iterdir()):
        subprocess.run(["nvidia-smi", "-r", "-i", device], check=True)


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
    elif verb == ["boot"] and not rest:
        boot()
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
