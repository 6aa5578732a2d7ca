# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding a kubelet by what systemd says, in the form of kubeadm, k3s server and k3s agent units."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._kubelet import host, merge
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError

EXEC = (
    "ExecStart={{ path={program} ; argv[]={program} {arguments} ; ignore_errors=no ; start_time=[n/a] ; pid=0 ; status=0/0 }}\n"
)
STATE = "MainPID=0\nResult=success\nLoadState=loaded\nActiveState={state}\nSubState={sub}\n"
STOPPED = STATE.format(state="inactive", sub="dead")

KUBEADM = (
    EXEC.format(
        program="/usr/bin/kubelet",
        arguments="$KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS",
    )
    + 'Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf '
    '--kubeconfig=/etc/kubernetes/kubelet.conf" KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\n'
    "EnvironmentFiles=FLAGS (ignore_errors=yes)\nEnvironmentFiles=/etc/default/kubelet (ignore_errors=yes)\n" + STOPPED
)
K3S_SERVER = EXEC.format(program="/usr/local/bin/k3s", arguments="server --kubelet-arg=max-pods=60") + STOPPED
K3S_AGENT = EXEC.format(program="/usr/local/bin/k3s", arguments="agent") + STOPPED
K3S_VERSION = "k3s version v1.33.4+k3s1 (148243c4)\ngo version go1.24.5\n"
SPEC = {"provider": "auto", "name": "gpufleet", "node_name": None, "api_key": None}

Answers = t.Mapping[tuple[str, ...], str]


def machine(answers: Answers, monkeypatch: pytest.MonkeyPatch, k3s: bool = False, **params: t.Any) -> tuple[host.Host, list[str]]:
    """A host whose programs answer as given, by the words that a command begins with; and what it was told."""
    told: list[str] = []

    def run(argv: tuple[str, ...], **_more: t.Any) -> subprocess.CompletedProcess[str]:
        told.append(" ".join(argv))
        text = next((text for words, text in answers.items() if argv[: len(words)] == words), "")
        return subprocess.CompletedProcess(argv, 0, text, "")

    original = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda self: k3s if str(self) == "/etc/rancher/k3s" else original(self))
    return host.Host({**SPEC, **params}, run), told


def test_kubeadms_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = tmp_path / "kubeadm-flags.env"
    flags.write_text(
        'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/containerd/containerd.sock --node-ip=10.0.0.1"\n'
    )
    here, _told = machine({("systemctl", "show", "kubelet"): KUBEADM.replace("FLAGS", str(flags))}, monkeypatch)
    unit = here.unit()
    assert not unit.running and here.layout.unit == "kubelet"
    assert here.unit_flags(unit) == (
        "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "--config=/var/lib/kubelet/config.yaml",
        "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
        "--node-ip=10.0.0.1",
    )


@pytest.mark.parametrize(("server", "unit"), [(True, "k3s"), (False, "k3s-agent")])
def test_k3s_is_found_as_server_or_agent(monkeypatch: pytest.MonkeyPatch, server: bool, unit: str) -> None:
    answers = {
        ("systemctl", "show", "k3s", "--property=LoadState"): f"LoadState={'loaded' if server else 'not-found'}\n",
        ("systemctl", "show", unit): K3S_SERVER if server else K3S_AGENT,
        ("/usr/local/bin/k3s", "--version"): K3S_VERSION,
    }
    here, told = machine(answers, monkeypatch, k3s=True)
    found = here.unit()
    assert here.layout.unit == found.name == unit
    assert here.flags(found) == (("--max-pods=60",) if server else ())
    assert here.version(found) == "1.33.4+k3s1"
    assert here.layout.config_dir == "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"
    here.stop()
    assert told[-1] == f"systemctl stop {unit}"


@pytest.mark.parametrize(
    ("line", "files", "flags"),
    [
        ("agent", {"config.yaml": "node-name: n1\nkubelet-arg: [max-pods=60, --v=2]\n"}, ("--max-pods=60", "--v=2")),
        ("agent", {"config.yaml": "kubelet-arg: max-pods=60\n", "config.yaml.d/9.yaml": "kubelet-arg: [v=4]\n"}, ("--v=4",)),
        ("agent", {"config.yaml": "kubelet-arg: a=1\n", "config.yaml.d/9.yaml": "kubelet-arg+: b=2\n"}, ("--a=1", "--b=2")),
        (
            "server --disable-cloud-controller --kubelet-arg max-pods=70 --kubelet-arg=v=3",
            {"config.yaml": "kubelet-arg: a=1\n"},
            ("--max-pods=70", "--v=3"),
        ),
        ("server", {}, ()),
    ],
)
def test_the_flags_that_k3s_gives_its_kubelet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, files: dict[str, str], flags: tuple[str, ...]
) -> None:
    """The command line's list replaces the files'; a later file's replaces an earlier one's, unless its key ends in +."""
    monkeypatch.setattr(host, "K3S_FILES", tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    here, _told = machine({("systemctl", "show", "k3s"): "LoadState=loaded\n"}, monkeypatch, provider="k3s")
    assert here.flags(host.Unit("k3s", True, True, 1, ("k3s", *line.split()), {}, (), "")) == flags


@pytest.mark.parametrize(
    ("loaded", "unit"),
    [
        (["k3s"], "k3s"),
        (["k3s-agent"], "k3s-agent"),
        (["kubelet"], "kubelet"),
        (["kubelet", "k3s"], "kubelet"),
        ([], "kubelet"),
    ],
)
def test_k3s_without_a_configuration_folder_is_found_by_its_unit(
    monkeypatch: pytest.MonkeyPatch, loaded: list[str], unit: str
) -> None:
    answers = {
        ("systemctl", "show", name, "--property=LoadState"): f"LoadState={'loaded' if name in loaded else 'not-found'}\n"
        for name in ("kubelet", "k3s", "k3s-agent")
    }
    assert machine(answers, monkeypatch)[0].layout.unit == unit


@pytest.mark.parametrize(
    ("flags", "given"),
    [
        (("--rotate-certificates", "--config=/a.yaml"), {"config": "/a.yaml", "rotate-certificates": ""}),
        (
            ("--rotate-certificates", "--config", "/a.yaml", "--v", "2"),
            {"config": "/a.yaml", "v": "2", "rotate-certificates": ""},
        ),
        (("--oom-score-adj", "-999", "--config=/a.yaml"), {"oom-score-adj": "-999", "config": "/a.yaml"}),
        (("--config=/a.yaml", "--fail-swap-on"), {"config": "/a.yaml", "fail-swap-on": ""}),
    ],
)
def test_a_switch_does_not_take_the_next_flag_for_its_value(flags: tuple[str, ...], given: dict[str, str]) -> None:
    assert dict(merge.parse_flags(flags)) == given


def test_k3s_can_be_named_and_kubeadm_too(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {("systemctl", "show", "k3s"): "LoadState=loaded\n"}
    assert machine(loaded, monkeypatch, provider="k3s")[0].layout.unit == "k3s"
    assert machine({}, monkeypatch, k3s=True, provider="kubeadm")[0].layout.unit == "kubelet"


def test_k3s_drop_ins_are_read_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """k3s writes the first file at each start; a user's come after it."""
    (tmp_path / "00-k3s-defaults.conf").write_text("kind: KubeletConfiguration\nmaxPods: 110\nclusterDNS:\n- 10.43.0.10\n")
    (tmp_path / "50-gpufleet.conf").write_text('# ours\n{"kind": "KubeletConfiguration", "maxPods": 60}\n')
    (tmp_path / "90-not-a-drop-in.yaml").write_text("maxPods: 1\n")
    (tmp_path / "10-cli.conf.d").mkdir()
    (tmp_path / "10-cli.conf.d" / "5.conf").write_text("maxPods: 70\n")
    here, _told = machine({("systemctl", "show", "k3s"): "LoadState=loaded\n"}, monkeypatch, provider="k3s")
    _texts, found = here._drop_ins(str(tmp_path))
    assert [(Path(path).name, content["maxPods"]) for path, content in found] == [
        ("00-k3s-defaults.conf", 110),
        ("5.conf", 70),
        ("50-gpufleet.conf", 60),
    ]


def test_a_host_without_a_kubelet_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    here, _told = machine({("systemctl", "show", "kubelet"): STOPPED.replace("=loaded", "=not-found")}, monkeypatch)
    with pytest.raises(PlanError, match="this host has no unit kubelet"):
        here.settled()


def test_a_version_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here, _told = machine({("/usr/local/bin/k3s", "--version"): "k3s version unknown\n"}, monkeypatch, provider="k3s")
    with pytest.raises(PlanError, match="names no release of Kubernetes"):
        here.version(host.Unit("k3s", True, True, 0, ("/usr/local/bin/k3s", "server"), {}, (), ""))


def test_config_dir_goes_where_the_unit_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kubeadm's own unit has a variable for it; any other command line is written anew. 1.29 needs a variable besides."""
    written: dict[str, str | None] = {}
    monkeypatch.setattr(host.Host, "put", lambda _self, path, text: written.update({path: text}))
    here, told = machine({("systemctl", "show", "kubelet"): KUBEADM.replace("FLAGS", "/none")}, monkeypatch)
    here.add_config_dir(str(tmp_path), 29)
    text = next(iter(written.values()))
    assert text and f'Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml --config-dir={tmp_path}"' in text
    assert "KUBELET_CONFIG_DROPIN_DIR_ALPHA=1" in text and told[-1] == "systemctl daemon-reload"

    plain = EXEC.format(program="/opt/kubelet", arguments="--config=/etc/k.yaml") + STOPPED
    here, _told = machine({("systemctl", "show", "kubelet"): plain}, monkeypatch)
    here.add_config_dir(str(tmp_path), 36)
    text = next(iter(written.values()))
    assert text and text.endswith(f"[Service]\nExecStart=\nExecStart=/opt/kubelet --config=/etc/k.yaml --config-dir={tmp_path}\n")


def test_a_folder_is_the_same_with_a_slash_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the module would take its own file for another one's."""
    folder = tmp_path / "kubelet.conf.d"
    folder.mkdir()
    (folder / "50-gpufleet.conf").write_text("maxPods: 60\n")
    unit = EXEC.format(program="/opt/kubelet", arguments=f"--config-dir={folder}/") + STOPPED
    answers = {("systemctl", "show", "kubelet"): unit, ("/opt/kubelet", "--version"): "Kubernetes v1.36.3\n"}
    here, _told = machine(answers, monkeypatch)
    monkeypatch.setattr(here, "node", lambda _observed: None)
    found = here.observe()
    assert found.config_dir == str(folder) and [path for path, _content in found.drop_ins] == [f"{folder}/50-gpufleet.conf"]
    assert not found.needs_config_dir


def test_a_kubelet_without_healthz_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    here, _told = machine({}, monkeypatch)
    assert here.healthy(("127.0.0.1", 0))
