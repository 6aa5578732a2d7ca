# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mig-parted's format v1 and the short form: what is read, what is refused and where, and the way back."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import config, known
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.config import Source, Wish
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.layout import Compute, Gpu, Instance, Profile
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.plan import Options, plan
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from ansible_collections.gpufleet.k8s.plugins.plugin_utils._mig import parse

A100 = "A100-40GB"
HEAD = "version: v1\nmig-configs:\n  x:\n"


def entry(*lines: str) -> str:
    """A file whose one entry has these lines, the first of them line 4."""
    return HEAD + "    - " + "\n      ".join(lines) + "\n"


def gpu(index: int, board: str = A100, *layout: tuple[str, int, tuple[int, ...]], mig: bool | None = True) -> Gpu:
    shape, ids = known.KNOWN[board]
    instances = []
    for number, (name, start, sizes) in enumerate(layout):
        computes = tuple(Compute(c, size, f"MIG-{index}-{number}-{c}", (), sum(sizes[:c])) for c, size in enumerate(sizes))
        instances.append(Instance(number, shape.find(Profile.parse(name)), start, computes))
    return Gpu(index, f"GPU-{index}", "", ids[0], board, shape, mig, mig, tuple(instances))


def load(text: str, label: str | None = None) -> list[config.Entry]:
    data, lines = parse(text, "mig.yaml")
    return config.load(data, Source("mig.yaml", lines), label)


def resolved(text: str, *gpus: Gpu) -> dict[int, Wish]:
    return config.resolve(load(text), gpus, False)


def wish(**counts: int) -> Wish:
    return Wish(True, tuple(sorted((Profile.parse(name), count) for name, count in counts.items())))


def test_a_file_as_mig_parted_has_it() -> None:
    text = HEAD + (
        "    - devices: [0]\n      mig-enabled: true\n      mig-devices: {'1g.5gb': 2, '3g.20gb': 1}\n"
        "    - devices: [1]\n      device-filter: ['0x20B010DE', '0x20B710DE']\n      mig-enabled: false\n      mig-devices: {}\n"
    )
    assert resolved(text, gpu(0), gpu(1)) == {0: wish(**{"1g.5gb": 2, "3g.20gb": 1}), 1: Wish(False)}


def test_filters_choose_and_a_subsystem_narrows() -> None:
    text = HEAD + "    - {device-filter: '0x20B710DE', devices: all, mig-enabled: true, mig-devices: {'4g.24gb': 1}}\n"
    assert resolved(text, gpu(0), gpu(1, "A30")) == {1: wish(**{"4g.24gb": 1})}
    with pytest.raises(PlanError, match=r"no GPU of this host matches; its GPUs are A30 \(0x20B710DE\)"):
        resolved(text.replace("0x20B710DE", "0x20B710DE:0x00000001"), gpu(0, "A30"))


def test_a_count_of_nought_is_as_if_it_were_not_there() -> None:
    text = HEAD + "    - {devices: all, mig-enabled: true, mig-devices: {1g.5gb: 7, 2g.10gb: 0}}\n"
    assert resolved(text, gpu(0))[0] == wish(**{"1g.5gb": 7})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mig.yaml: it is empty"),
        ("a: [", "mig.yaml line 1: "),
        ("a: 1\n---\nb: 2\n", "mig.yaml line 2: "),
        ("version: v2\nmig-configs: {}\n", r"mig.yaml line 1 \(version\): version is 'v2'; the format that exists is v1"),
        ("version: v1\nbogus: 1\n", r"mig.yaml line 2 \(bogus\): unknown field 'bogus'; there are version, mig-configs"),
        ("version: v1\nmig-configs: {}\n", r"line 2 \(mig-configs\): no configuration in it"),
        ("version: v1\nmig-configs:\n  x: []\n", r"line 3 \(mig-configs/x\): a configuration is a list"),
        (entry("devices: all"), r"line 4 \(mig-configs/x/0\): mig-enabled is missing"),
        (entry("devices: all", "mig-enabled: true"), "line 4 .*: mig-devices is missing"),
        (entry("devices: 0", "mig-enabled: false"), "line 4 .*: devices is 0; it must be `all` or a list of GPU indexes"),
        (entry("devices: [-1]", "mig-enabled: false"), "line 4 .*: devices is "),
        (entry("devices: all", "mig-enabled: 'yes'"), "line 5 .*: mig-enabled is 'yes'"),
        (entry("devices: all", "mig-enabled: false", "mig-devices:", "  1g.5gb: 1"), "line 6 .*while mig-enabled"),
        (entry("devices: all", "mig-enabled: true", "mig-devices:", "  bogus: 1"), "line 7 .*'bogus' is not a MIG pro"),
        (entry("devices: all", "mig-enabled: true", "mig-devices:", "  1g.5gb: -1"), "line 7 .*the count of 1g.5gb is -1"),
        (entry("devices: all", "mig-enabled: true", "mig-devices:", "  1g.5gb: 0"), "line 6 .*all counts are 0"),
        (entry("devices: all", "device-filter: 0xZZZZ", "mig-enabled: false"), "line 5 .*'0xZZZZ' is not a device-filter"),
        (entry("devices: all", "mig-enabled: false", "mig-enabled: true"), "line 6: 'mig-enabled' stands here again.*line 5"),
        (entry("devices: all", "mig-enable: true"), "line 5 .*unknown field 'mig-enable'"),
        (
            HEAD + "    - {devices: all, mig-enabled: true, mig-devices: {1g.5gb: 1}, placement: {2g.10gb: [0]}}\n",
            "2g.10gb has a placement but is not in mig-devices",
        ),
        (
            HEAD + "    - {devices: all, mig-enabled: true, mig-devices: {1g.5gb: 2}, placement: {1g.5gb: [0, 0]}}\n",
            "names a slot twice",
        ),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_with_the_line_at_fault(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        load(text)


def test_the_line_of_a_profile_that_the_gpu_does_not_have() -> None:
    text = entry("devices: all", "mig-enabled: true", "mig-devices:", "  1g.5gb: 1", "  2g.20gb: 1")
    with pytest.raises(PlanError, match=r"^mig.yaml line 8 \(.*/2g.20gb\): GPU 0: .* has no profile 2g.20gb"):
        plan([gpu(0)], resolved(text, gpu(0)), Options())


def test_labels() -> None:
    text = "version: v1\nmig-configs:\n  a: [{devices: all, mig-enabled: false}]\n  b: [{devices: [0], mig-enabled: false}]\n"
    assert load(text, "b")[0].devices == (0,)
    with pytest.raises(PlanError, match=r"name one in `selected`; it has a, b"):
        load(text)
    with pytest.raises(PlanError, match=r"has no configuration 'c'; it has a, b"):
        load(text, "c")


def test_every_configuration_is_checked_not_only_the_chosen_one() -> None:
    text = "version: v1\nmig-configs:\n  a: [{devices: all, mig-enabled: false}]\n  b: [{devices: all}]\n"
    with pytest.raises(PlanError, match=r"line 4 .*mig-enabled is missing"):
        load(text, "a")


def test_contradictions_name_both_places() -> None:
    text = HEAD + "    - {devices: all, mig-enabled: false}\n    - {devices: [0], mig-enabled: true, mig-devices: {}}\n"
    with pytest.raises(PlanError, match=r"GPU 0 is asked for twice, differently: mig.yaml line 4 .*; mig.yaml line 5"):
        resolved(text, gpu(0))
    same = HEAD + "    - {devices: all, mig-enabled: false}\n    - {devices: [0], mig-enabled: false}\n"
    assert resolved(same, gpu(0)) == {0: Wish(False)}


def test_indexes_that_do_not_exist() -> None:
    text = HEAD + "    - {devices: [0, 4, 5], mig-enabled: false}\n"
    with pytest.raises(PlanError, match=r"there is no GPU 4, 5; this host has 0, 1"):
        resolved(text, gpu(0), gpu(1))


# ---- the short form ----


def short(layout: t.Any, *gpus: Gpu) -> dict[int, Wish]:
    return config.resolve(config.from_layout(layout), gpus, True)


def test_an_index_outweighs_all() -> None:
    wishes = short({0: ["3g.20gb:4", "1g.5gb", "1g.5gb"], "all": "all-1g.5gb"}, gpu(0), gpu(1))
    assert wishes[0].demands == wish(**{"1g.5gb": 2, "3g.20gb": 1}).demands
    assert wishes[0].starts == ((Profile.parse("3g.20gb"), (4,)),)
    assert wishes[1] == wish(**{"1g.5gb": 7})
    assert short({"all": "all-1g.5gb", "0": "all-disabled"}, gpu(0), gpu(1)) == {0: Wish(False), 1: wish(**{"1g.5gb": 7})}
    assert short({0: {"7g.40gb": 1}}, gpu(0), gpu(1)) == {0: wish(**{"7g.40gb": 1})}


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({}, "it maps GPU indexes"),
        ({"x": []}, "'x' is neither a GPU index nor `all`"),
        ({0: 7}, r"layout\[0\]: 7 is neither a list"),
        ({0: ["3g.20gb:x"]}, r"layout\[0\]: '3g.20gb:x': after the colon stands the start slot, for example 3g.20gb:0"),
        ({0: ["3g"]}, r"layout\[0\].*'3g' is not a MIG profile"),
        ({0: "all-9g.9gb"}, "A100-40GB has no layout 'all-9g.9gb'; it has all-disabled, all-enabled, all-balanced, all-1g.5gb"),
        ({3: "all-1g.5gb"}, r"layout\[3\]: there is no GPU 3; this host has 0"),
    ],
)
def test_wrong_layouts(layout: t.Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        short(layout, gpu(0))


def test_named_layouts_for_all_pass_over_gpus_that_cannot() -> None:
    wishes = short({"all": "all-1g.5gb"}, gpu(0), gpu(1, "A30"), gpu(2, A100, mig=None))
    assert wishes == {0: wish(**{"1g.5gb": 7})}
    with pytest.raises(PlanError, match=r"no GPU of this host matches"):
        short({"all": "all-1g.5gb"}, gpu(0, "A30"))
    with pytest.raises(PlanError, match=r"GPU 2 .* cannot do MIG"):
        short({2: "all-1g.5gb"}, gpu(0), gpu(2, A100, mig=None))


@pytest.mark.parametrize(
    ("board", "balanced"),
    [
        ("A30", {"1g.6gb": 2, "2g.12gb": 1}),
        ("A100-40GB", {"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1}),
        ("H100-94GB", {"1g.12gb": 2, "2g.24gb": 1, "3g.47gb": 1}),
        ("H200-141GB", {"1g.18gb": 2, "2g.35gb": 1, "3g.71gb": 1}),
        ("B200-180GB", {"1g.23gb": 2, "2g.45gb": 1, "3g.90gb": 1}),
        ("RTX-PRO-6000", {"1g.24gb": 2, "2g.48gb": 1}),
    ],
)
def test_balanced_is_what_generate_config_computes(board: str, balanced: dict[str, int]) -> None:
    assert config.named("all-balanced", known.KNOWN[board][0]) == wish(**balanced).demands


@pytest.mark.parametrize("board", known.KNOWN)
def test_every_named_layout_of_every_board_is_feasible(board: str) -> None:
    one = gpu(0, board, mig=False)
    for name in config.generate(one.board):
        assert plan([one], short({0: name}, one), Options()).changed


# ---- the way back ----


def test_export_round_trips_with_and_without_placement() -> None:
    gpus = [
        gpu(0, A100, ("3g.20gb", 0, (1, 1)), ("2g.10gb", 4, (2,))),
        gpu(1, A100, ("7g.40gb", 0, (7,))),
        gpu(2, A100, ("7g.40gb", 0, (7,))),
        gpu(3, A100, mig=False),
        gpu(4, A100, mig=None),
        # The placement says where instances are, not which of them is cut further: those that are there tell.
        gpu(5, A100, ("3g.20gb", 0, (3,)), ("3g.20gb", 4, (1, 1))),
        gpu(6, A100, ("3g.20gb", 0, (1,)), ("3g.20gb", 4, (1,))),
    ]
    for placement in (False, True):
        document = config.export(gpus, "now", placement)
        assert [entry["devices"] for entry in document["mig-configs"]["now"]] == [[0], [1, 2], [3, 4], [5], [6]]
        text = config.to_yaml(document)
        assert yaml.safe_load(text) == document
        planned = plan(gpus, config.resolve(load(text, "now"), gpus, False), Options())
        assert not planned.changed and not planned.differences


def test_export_says_all_when_all_are_alike() -> None:
    assert config.export([gpu(0), gpu(1)])["mig-configs"]["current"] == [
        {"devices": "all", "mig-enabled": True, "mig-devices": {}}
    ]


def test_yaml_keys_have_lines_in_flow_style_and_through_anchors() -> None:
    data, lines = parse("a: &x\n  k: 1\nb:\n  <<: *x\n  c: [1,\n    2]\n", "f")
    assert data == {"a": {"k": 1}, "b": {"k": 1, "c": [1, 2]}}
    assert (lines["a/k"], lines["b/c"], lines["b/c/1"]) == (2, 5, 6)
