# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The layout again at boot: this very engine as one file, what it shall do, and a systemd unit.

PRIVATE: this module util is for this collection only and may change without notice.

Nothing of it is a file of NVIDIA's packages: nvidia-mig-manager.service overwrites its own config.yaml at each boot.
"""

from __future__ import annotations

import inspect
import io
import json
import sys
import typing as t
import zipfile
from pathlib import Path

ENGINE = Path("/usr/local/lib/gpufleet/mig.pyz")
WISH = Path("/etc/gpufleet/mig.json")
UNIT = Path("/etc/systemd/system/gpufleet-mig.service")
#: What `systemctl enable` makes.
ENABLED = UNIT.parent / "multi-user.target.wants" / UNIT.name

#: Parameters of mig_parted that count at boot, when nothing runs yet and there is nobody to drain.
_KEPT = ("config", "config_name", "config_lines", "selected", "layout", "stop_services", "reset", "refresh_cdi", "timeout")
_SUBJECTS = ("boot", "config", "clients", "known", "layout", "nvml", "picture", "plan", "resource", "solver")
_MODULES = ("_plan", "_alone", *(f"_mig.{subject}" for subject in _SUBJECTS))
_UNIT = """\
# Written by gpufleet.k8s (module mig_parted).
[Unit]
Description=MIG layout of the GPUs (gpufleet.k8s)
After=nvidia-persistenced.service nvidia-fabricmanager.service
Before=kubelet.service k3s.service k3s-agent.service

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec={timeout}
ExecStart={python} {engine} {wish}

[Install]
WantedBy=multi-user.target
"""
_MAIN = """\
import sys
from gpufleet._mig.resource import at_boot
sys.exit(at_boot(sys.argv[1]))
"""


def files(params: t.Mapping[str, t.Any]) -> dict[Path, bytes]:
    """What shall be there, by path; the unit comes last."""
    wish = {key: params[key] for key in _KEPT if params[key] is not None}
    unit = _UNIT.format(timeout=params["timeout"] + 60, python=sys.executable, engine=ENGINE, wish=WISH)
    return {ENGINE: _engine(), WISH: (json.dumps(wish, indent=1, sort_keys=True) + "\n").encode(), UNIT: unit.encode()}


def _engine() -> bytes:
    """This package as a zip file that Python runs; the same bytes for the same sources."""
    above = __name__.rsplit(".", 2)[0]
    sources = {"__main__.py": _MAIN.encode(), "gpufleet/__init__.py": b"", "gpufleet/_mig/__init__.py": b""}
    for name in _MODULES:
        sources[f"gpufleet/{name.replace('.', '/')}.py"] = inspect.getsource(sys.modules[f"{above}.{name}"]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in sorted(sources.items()):
            archive.writestr(zipfile.ZipInfo(name), source, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def stale(wished: t.Mapping[Path, bytes]) -> list[Path]:
    """Which of them are not there as wished; with nothing wished: which are there."""
    if not wished:
        return [path for path in (ENABLED, UNIT, WISH, ENGINE) if path.is_symlink() or path.exists()]
    missing = [] if ENABLED.is_symlink() else [ENABLED]
    return [path for path, content in wished.items() if not path.exists() or path.read_bytes() != content] + missing


def put(path: Path, content: bytes | None) -> None:
    """Writes whole or not at all; None removes."""
    if content is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    if path == ENABLED:
        fresh.symlink_to(UNIT)
    else:
        fresh.write_bytes(content)
        fresh.chmod(0o644)
    fresh.rename(path)
