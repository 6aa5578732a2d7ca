# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mig_parted through ansible, as a play calls it: the ladder of check mode, change, no change; files and their errors; users."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.clients import who
from fakegpu import Host
from onhost import counts, document, info, parted, shapes, uuids

FILE = """\
version: v1
mig-configs:
  mixed:
    - devices: [0]
      mig-enabled: true
      mig-devices:
        "1g.5gb": 2
        "2g.10gb": 1
        "3g.20gb": 1
  too-much:
    - devices: [0]
      mig-enabled: true
      mig-devices:
        "3g.20gb": 2
        "1g.5gb": 1
  unknown:
    - devices: all
      mig-enabled: true
      mig-devices:
        "1g.5gb": 1
        "2g.20gb": 1
"""


def ansible(host: Host, folder: Path, *flags: str, **arguments: t.Any) -> dict[str, t.Any]:
    """One task; its result as the play sees it."""
    (folder / "mig.yaml").write_text(FILE)
    play = folder / "play.yml"
    task = {"name": "MIG", "gpufleet.k8s.mig_parted": arguments, "register": "done", "ignore_errors": True}
    copy = {"name": "Keep", "ansible.builtin.copy": {"content": "{{ done | to_json }}", "dest": str(folder / "done.json")}}
    copy["check_mode"] = False  # type: ignore[assignment]
    play.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task, copy]}]))
    environment = host.env(ANSIBLE_PYTHON_INTERPRETER=sys.executable, ANSIBLE_LOCALHOST_WARNING="False")
    command = ["ansible-playbook", "-i", "localhost,", *flags, str(play)]
    done = subprocess.run(command, env=environment, cwd=folder, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {**json.loads((folder / "done.json").read_text()), "stdout": done.stdout}


def test_ladder(make: t.Callable[..., Host], tmp_path: Path) -> None:
    host = make("A100-40", "A30", "T4")
    wanted = {"src": "mig.yaml", "selected": "mixed"}
    foreseen = ansible(host, tmp_path, "--check", "--diff", **wanted)
    assert foreseen["changed"] and "+  slots 4-7  3g.20gb" in foreseen["stdout"]
    assert shapes(host)[0] == (False, False, [])
    done = ansible(host, tmp_path, **wanted)
    assert done["changed"] and done["actions"] == foreseen["actions"] and done["operations"] == foreseen["operations"]
    without_ids = [[(i["start"], i["profile"]) for i in gpu["instances"]] for gpu in done["after"]]
    assert without_ids == [[(i["start"], i["profile"]) for i in gpu["instances"]] for gpu in foreseen["after"]]
    assert {d["uuid"] for gpu in done["after"] for i in gpu["instances"] for d in i["devices"]} == uuids(host)
    assert shapes(host)[1:] == [(False, False, []), (None, None, [])]
    again = ansible(host, tmp_path, **wanted)
    assert not again["changed"] and again["actions"] == [] and again["before"] == again["after"] == done["after"]
    by_name = ansible(host, tmp_path, selected="all-balanced")
    assert by_name["changed"] and not any("GPU 0" in action for action in by_name["actions"])
    off = ansible(host, tmp_path, layout={"all": "all-disabled"})
    assert off["changed"] and off["operations"]["resets"] == 1
    assert shapes(host) == [(False, False, []), (False, False, []), (None, None, [])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"src": "mig.yaml", "selected": "too-much"}, "mig.yaml line 13 (mig-configs/too-much/0/mig-devices): GPU 0: "),
        ({"src": "mig.yaml", "selected": "unknown"}, "mig.yaml line 21 (mig-configs/unknown/0/mig-devices/2g.20gb): GPU 0: "),
        ({"src": "mig.yaml", "selected": "none"}, "mig.yaml line 2 (mig-configs): it has no configuration 'none'; it has"),
        ({"src": "absent.yaml"}, "absent.yaml cannot be read on the controller"),
        ({"src": "/absent.yaml", "remote_src": True}, "/absent.yaml cannot be read on the node"),
        ({"config": "version: v1\nmig-configs:\n  x: [{devices: 7}]\n"}, "config line 3 (mig-configs/x/0): mig-enabled is"),
        ({"layout": {"0": ["9g.9gb"]}}, "layout[0]: GPU 0: NVIDIA A100-PCIE-40GB has no profile 9g.9gb; it has 1g.5gb"),
        ({}, "one of the following is required: config, src, layout, selected"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_changes(
    make: t.Callable[..., Host], tmp_path: Path, arguments: dict[str, t.Any], message: str
) -> None:
    host = make("A100-40")
    assert parted(host, layout={"all": "all-1g.5gb"}).ok
    before = uuids(host)
    answer = ansible(host, tmp_path, **arguments)
    assert answer["failed"] and message in answer["msg"], answer["msg"]
    assert uuids(host) == before


def test_a_file_on_the_node(make: t.Callable[..., Host], tmp_path: Path) -> None:
    host = make("A100-40")
    there = tmp_path / "there.yaml"
    there.write_text(FILE)
    assert ansible(host, tmp_path, src=str(there), remote_src=True, selected="mixed")["changed"]


def test_plans_without_a_gpu(make: t.Callable[..., Host], tmp_path: Path) -> None:
    none = make("T4")
    wanted = {"src": "mig.yaml", "selected": "mixed", "assume_gpus": ["A100-40GB"]}
    assert ansible(none, tmp_path, "--check", **wanted)["operations"]["created"] == 4
    assert "check mode only" in ansible(none, tmp_path, **wanted)["msg"]
    assert "there are A30, A100-40GB" in ansible(none, tmp_path, "--check", **{**wanted, "assume_gpus": ["K80"]})["msg"]


def test_no_driver(tmp_path: Path, make: t.Callable[..., Host]) -> None:
    host = make("A100-40")
    without_library = Host(host.directory, tmp_path / "nowhere")
    answer = ansible(without_library, tmp_path, selected="all-1g.5gb")
    assert answer["failed"] and "libnvidia-ml.so.1 is not there" in answer["msg"]


@pytest.mark.parametrize(
    ("board", "first", "then", "stays"),
    [
        ("B200", {"1g.23gb": 5, "1g.23gb+me": 1}, {"1g.23gb": 2, "3g.90gb": 1, "1g.45gb": 1}, {"1g.23gb"}),
        (
            "RTX-PRO-6000",
            {"1g.24gb+me.all": 1, "1g.24gb-me": 3},
            {"2g.48gb+gfx": 1, "1g.24gb+gfx": 1, "1g.24gb-me": 1},
            {"1g.24gb-me"},
        ),
    ],
)
def test_blackwell_changes_its_mode_without_a_reset_and_has_slices_with_attributes(
    make: t.Callable[..., Host], board: str, first: dict[str, int], then: dict[str, int], stays: set[str]
) -> None:
    host = make(board)
    host.faults("smi refuse a reset was tried")
    on = parted(host, config=document(first), trace=host.trace)
    assert on.ok and on.result["operations"]["resets"] == 0 and not on.result["reboot_required"], on.msg
    assert counts(host) == [first] and host.calls()["nvmlDeviceSetMigMode"] == 1
    before = {d["uuid"]: d["profile"] for i in info(host).result["gpus"][0]["instances"] for d in i["devices"]}
    moved = parted(host, config=document(then))
    assert moved.ok and counts(host) == [then], moved.msg
    kept = uuids(host) & set(before)
    assert {before[uuid] for uuid in kept} == stays
    assert len(kept) == moved.result["operations"]["kept"] == sum(min(first[name], then[name]) for name in stays)
    off = parted(host, layout={"all": "all-disabled"})
    assert off.ok and off.result["operations"]["resets"] == 0 and shapes(host) == [(False, False, [])], off.msg


def test_what_attributes_do_not_allow_is_refused(make: t.Callable[..., Host]) -> None:
    """All media engines are in the first slice, so only slices without one may stand beside it."""
    host = make("RTX-PRO-6000")
    outcome = parted(host, config=document({"1g.24gb+me.all": 1, "1g.24gb+gfx": 1}), trace=host.trace)
    assert not outcome.ok and "video decoder" in outcome.msg, outcome.msg
    assert not any("Create" in name or "SetMigMode" in name for name in host.calls())


# ---- who uses it ----


@pytest.fixture
def sleeper() -> t.Iterator[int]:
    child = subprocess.Popen(["sleep", "600"])
    yield child.pid
    child.kill()
    child.wait()


def test_what_is_used_stays_and_the_rest_moves_around_it(make: t.Callable[..., Host], sleeper: int) -> None:
    host = make("A100-40")
    assert parted(host, layout={0: ["3g.20gb:0", "1g.5gb:4", "1g.5gb:5", "1g.5gb:6"]}).ok
    (before,) = info(host).result["gpus"]
    used = before["instances"][0]
    host.busy(f"0 {used['id']} 0 {sleeper}")
    outcome = parted(host, config=document({"3g.20gb": 2}))
    assert outcome.ok and outcome.result["operations"]["kept"] == 1, outcome.msg
    (after,) = outcome.result["after"]
    assert after["instances"][0]["devices"][0]["uuid"] == used["devices"][0]["uuid"]
    assert after["instances"][0]["devices"][0]["in_use_by"] == [str(who(sleeper))]


def test_what_is_used_is_not_destroyed_unless_said(make: t.Callable[..., Host], sleeper: int) -> None:
    host = make("A100-40")
    assert parted(host, layout={0: "all-1g.5gb"}).ok
    before = uuids(host)
    host.busy(f"0 9 0 {sleeper}")
    for wanted in ({"7g.40gb": 1}, None):
        outcome = parted(host, config=document(wanted))
        assert not outcome.ok and f"process sleep (pid {sleeper}" in outcome.msg and "allow_busy" in outcome.msg
        assert "1g.5gb at slot 2" in outcome.msg and uuids(host) == before
    # Said, but the driver refuses: the old layout comes back.
    outcome = parted(host, config=document({"7g.40gb": 1}), allow_busy=True)
    assert not outcome.ok and outcome.result["restored"] and "In use by another client" in outcome.msg


def test_without_root_it_says_so_and_changes_nothing(programs: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gpufleet-mig-") as temporary:  # pytest's own folders are closed to others
        Path(temporary).chmod(0o755)
        host = Host.make(Path(temporary) / "host", ["A100-40"], programs)
        whole = parted(host, uid=65534, layout={0: "all-1g.5gb"})
        assert not whole.ok and "nvmlDeviceSetMigMode: Insufficient Permissions; run the task as root" in whole.msg
        assert shapes(host) == [(False, False, [])]
        assert parted(host, layout={0: "all-1g.5gb"}).ok
        before = uuids(host)
        cut = parted(host, uid=65534, layout={0: "all-2g.10gb"})
        assert not cut.ok and "run the task as root (become: true)" in cut.msg
        assert uuids(host) == before
