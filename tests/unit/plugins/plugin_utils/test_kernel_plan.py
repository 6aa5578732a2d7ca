# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node is like, from one grep: grep_files, kernel_plan and sysctl_path."""

from __future__ import annotations

import shutil
import subprocess

from ansible_collections.gpufleet.k8s.plugins.plugin_utils.grep_files import grep_files
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.kernel_plan import kernel_plan
from ansible_collections.gpufleet.k8s.plugins.plugin_utils.sysctl_path import sysctl_path
from hypothesis import given
from hypothesis import strategies as st


def test_real_grep_is_read_back(tmp_path):
    files = {tmp_path / "one": "a: b\n\nc\n", tmp_path / "no-newline": "x", tmp_path / "sub" / "two": "y\n"}
    (tmp_path / "sub").mkdir()
    for path, content in files.items():
        path.write_text(content)
    (tmp_path / "empty").write_text("")
    done = subprocess.run(
        [str(shutil.which("grep")), "-srH", "", str(tmp_path), str(tmp_path / "missing")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert grep_files(done.stdout) == {str(path): content.rstrip("\n") + "\n" for path, content in files.items()}


FILES = {
    "/proc/modules": "nf_conntrack 200704 5 - Live 0x0\nip_vs 100 0 - Live 0x0\n",
    "/proc/filesystems": "nodev\tsysfs\nnodev\toverlay\n\text4\n",
    "/proc/swaps": "Filename\tType\tSize\n/dev/sda2 partition 1 0 -2\n",
    "/lib/modules/6.8/modules.builtin": "kernel/net/tls/tls.ko\nkernel/drivers/md/dm-mod.ko\n",
    "/proc/sys/net/ipv4/ip_forward": "0\n",
    "/proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
    "/proc/sys/vm/panic_on_oom": "0\n",
}


def test_a_module_is_there_when_loaded_built_in_or_provided():
    wished = ["nf_conntrack", "tls", "dm-mod", "overlay", "br_netfilter", "rdma_cm"]
    assert kernel_plan(FILES, modules=wished)["modules"] == ["br_netfilter", "rdma_cm"]
    bridge = {"/proc/sys/net/bridge/bridge-nf-call-iptables": "0\n"}
    assert kernel_plan({**FILES, **bridge}, modules=wished)["modules"] == ["rdma_cm"]


def test_sysctls_are_compared_as_the_kernel_prints_them():
    wished = {"net.ipv4.ip_forward": 1, "net.ipv4.ip_local_port_range": "32768 60999", "vm.panic_on_oom": "0", "vm.nothing": 1}
    plan = kernel_plan(FILES, sysctls=wished)
    assert plan["sysctls"] == {"net.ipv4.ip_forward": "0"}
    assert plan["unknown"] == ["vm.nothing"]


def test_swap_in_use_is_listed():
    assert kernel_plan(FILES)["swaps"] == ["/dev/sda2"]
    assert kernel_plan({"/proc/swaps": "Filename\tType\n"})["swaps"] == []
    assert kernel_plan({})["swaps"] == []


def test_where_a_sysctl_is():
    assert sysctl_path("net.ipv4.ip_forward") == "/proc/sys/net/ipv4/ip_forward"
    assert sysctl_path("net.ipv4.conf.eth0/1.rp_filter") == "/proc/sys/net/ipv4/conf/eth0.1/rp_filter"


@given(st.dictionaries(st.sampled_from(["vm.a", "vm.b", "net.c"]), st.integers(0, 99)))
def test_what_was_set_is_not_set_again(wished):
    assert kernel_plan({sysctl_path(name): f"{value}\n" for name, value in wished.items()}, sysctls=wished)["sysctls"] == {}
