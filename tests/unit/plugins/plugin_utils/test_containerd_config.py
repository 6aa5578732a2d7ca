# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd_config: the user's dictionary wins, but for what would break the node."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.containerd_config import IMAGES, RUNTIME, containerd_config

PAUSE = "registry.k8s.io/pause:3.10.2"


def plan(user=None, version="2.3.5", root="/var/lib/containerd"):
    return containerd_config(user or {}, version=version, root=root, sandbox_image=PAUSE)


def runtimes(user):
    return plan({"plugins": {RUNTIME: {"containerd": {"runtimes": user}}}})["dropin"]["plugins"][RUNTIME]["containerd"][
        "runtimes"
    ]


def test_the_base_file_is_minimal_and_takes_drop_ins():
    assert plan(root="/opt/dlami/nvme/containerd")["base"] == {
        "version": 4,
        "root": "/opt/dlami/nvme/containerd",
        "imports": ["/etc/containerd/conf.d/*.toml"],
    }


@pytest.mark.parametrize(("version", "schema"), [("2.0.0", 3), ("v2.2.8", 3), ("2.3.0", 4), ("2.10.1", 4), ("3.0.0", 4)])
def test_the_schema_follows_from_the_version(version, schema):
    assert plan(version=version)["base"]["version"] == plan(version=version)["dropin"]["version"] == schema


def test_what_kubernetes_needs_is_there():
    plugins = plan()["dropin"]["plugins"]
    assert plugins[IMAGES] == {"pinned_images": {"sandbox": PAUSE}, "registry": {"config_path": "/etc/containerd/certs.d"}}
    assert plugins[RUNTIME]["enable_cdi"] is True
    assert plugins[RUNTIME]["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True


def test_the_user_wins_and_is_not_changed():
    user = {"oom_score": -999, "plugins": {IMAGES: {"snapshotter": "native", "registry": {"config_path": "/my/certs.d"}}}}
    dropin = plan(user)["dropin"]
    assert dropin["oom_score"] == -999
    assert dropin["plugins"][IMAGES] == {
        "pinned_images": {"sandbox": PAUSE},
        "registry": {"config_path": "/my/certs.d"},
        "snapshotter": "native",
    }
    assert user == {"oom_score": -999, "plugins": {IMAGES: {"snapshotter": "native", "registry": {"config_path": "/my/certs.d"}}}}


def test_every_runc_class_runtime_uses_the_systemd_cgroup_driver():
    found = runtimes(
        {
            "nvidia": {"options": {"BinaryName": "/usr/bin/nvidia-container-runtime"}},
            "crun": {"runtime_type": "io.containerd.runc.v2"},
            "kata": {"runtime_type": "io.containerd.kata.v2", "options": {"ConfigPath": "/etc/kata.toml"}},
        }
    )
    assert found["nvidia"] == {
        "runtime_type": "io.containerd.runc.v2",
        "options": {"BinaryName": "/usr/bin/nvidia-container-runtime", "SystemdCgroup": True},
    }
    assert found["crun"]["options"] == {"SystemdCgroup": True}
    assert found["kata"] == {"runtime_type": "io.containerd.kata.v2", "options": {"ConfigPath": "/etc/kata.toml"}}
    assert "runc" in found


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("version = 3", "containerd_config is a str, not a dictionary"),
        ({"root": "/data"}, "containerd_config.root = '/data' is not yours to set here; use containerd_root"),
        ({"version": 2}, "containerd_config.version = 2 is not yours to set here"),
        ({"imports": ["/x"]}, "containerd_config.imports = ['/x'] is not yours to set here; put files into conf.d"),
        ({"plugins": {"io.containerd.grpc.v1.cri": {}}}, "['io.containerd.grpc.v1.cri'] is the name that containerd 1.x used"),
        ({"plugins": {RUNTIME: {"containerd": "runc"}}}, f"['plugins']['{RUNTIME}']['containerd'] = 'runc' is not a dictionary"),
        ({"plugins": {RUNTIME: {"containerd": {"runtimes": {"x": 1}}}}}, ".runtimes['x'] is not a dictionary"),
        (
            {"plugins": {RUNTIME: {"containerd": {"runtimes": {"runc": {"options": {"SystemdCgroup": False}}}}}}},
            ".runtimes['runc'].options.SystemdCgroup = False; it must be true",
        ),
    ],
)
def test_errors_name_the_key(user, message):
    with pytest.raises(AnsibleFilterError) as error:
        plan(user)
    assert message in str(error.value)


@pytest.mark.parametrize(("version", "message"), [("1.7.28", "1.7.28 is not supported"), ("latest", "'latest' is not a version")])
def test_other_versions_are_refused(version, message):
    with pytest.raises(AnsibleFilterError, match=message):
        plan(version=version)


@pytest.mark.parametrize("root", ["/", "//", "data", ""])
def test_a_root_that_is_no_folder_of_its_own_is_refused(root):
    with pytest.raises(AnsibleFilterError, match="containerd_root"):
        plan(root=root)
