# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Profile names, the table of known boards, and what a GPU says about itself."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig import known, solver
from ansible_collections.gpufleet.k8s.plugins.module_utils._mig.layout import (
    COMPUTE_SIZES,
    Compute,
    Gpu,
    Holder,
    Instance,
    Profile,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from hypothesis import given
from hypothesis import strategies as st

A100 = known.KNOWN["A100-40GB"][0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1g.5gb", Profile(g=1, gb=5, c=1)),
        ("1c.3g.20gb", Profile(g=3, gb=20, c=1)),
        ("1g.5gb+me", Profile(g=1, gb=5, c=1, plus=("me",))),
        ("2g.48gb+me.all", Profile(g=2, gb=48, c=2, plus=("me.all",))),
        ("1g.24gb-me", Profile(g=1, gb=24, c=1, minus=("me",))),
        ("1c.2g.48gb+gfx,me", Profile(g=2, gb=48, c=1, plus=("gfx", "me"))),
    ],
)
def test_names(text: str, expected: Profile) -> None:
    assert Profile.parse(text) == expected
    assert str(expected) == text


def test_a_compute_prefix_over_the_whole_instance_is_the_same_profile() -> None:
    assert str(Profile.parse("3c.3g.20gb")) == "3g.20gb"


@pytest.mark.parametrize(
    "text",
    ["", "1g", "5gb", "0g.5gb", "1g.5gb+", "1g.5gb+me,me", "4c.3g.20gb", "1g.5gb+me-gfx", " 1g.5gb", "1G.5GB", "1g.5gb+9x"],
)
def test_what_is_no_profile_is_quoted(text: str) -> None:
    with pytest.raises(PlanError, match="is not a MIG profile") as error:
        Profile.parse(text)
    assert repr(text) in error.value.message


@given(
    st.builds(Profile, g=st.integers(1, 9), gb=st.integers(1, 999), c=st.just(1), plus=st.sampled_from([(), ("me",), ("gfx",)]))
)
def test_every_name_parses_back(profile: Profile) -> None:
    assert Profile.parse(str(profile)) == profile


@pytest.mark.parametrize("name", known.KNOWN)
def test_known_boards_are_consistent(name: str) -> None:
    board, ids = known.KNOWN[name]
    assert board in known.boards(ids[0])
    assert (board.slots, board.slices) in {(8, 7), (4, 4)}
    assert len({kind.id for kind in board.profiles}) == len(board.profiles)
    for kind in board.profiles:
        assert max(kind.starts) + kind.size <= board.slots
        assert kind.profile.g in COMPUTE_SIZES
        # The limit that NVIDIA documents is what placements and engines allow; nothing but slots, slices and engines counts.
        assert solver.most(board, kind) == kind.limit


def test_only_ampere_needs_a_reset() -> None:
    assert {name for name, (board, _ids) in known.KNOWN.items() if board.reset} == {"A30", "A100-40GB", "A100-80GB", "A100-96GB"}


def test_an_unknown_profile_lists_what_there_is() -> None:
    with pytest.raises(PlanError, match=r"A100-40GB has no profile 2g.20gb; it has 1g.5gb, .*7g.40gb"):
        A100.find(Profile.parse("2g.20gb"))


def test_there_is_no_compute_instance_of_three_in_a_4g() -> None:
    with pytest.raises(PlanError, match=r"3c.4g.20gb: a 4g.20gb instance holds compute instances of 1c, 2c, 4c"):
        A100.find(Profile.parse("3c.4g.20gb"))


def test_counts_are_of_compute_instances_as_mig_parted_counts() -> None:
    three = A100.find(Profile.parse("3g.20gb"))
    one = A100.find(Profile.parse("1g.5gb"))
    gpu = Gpu(
        index=0, uuid="GPU-0", bus_id="0000:07:00.0", pci_id=0x20B010DE, name="A100", board=A100, mig=True, pending=True,
        instances=(
            Instance(1, three, 4, (Compute(0, 1), Compute(1, 1))),
            Instance(7, one, 0, (Compute(0, 1),)),
            Instance(8, one, 1, ()),
        ),
    )  # fmt: skip
    assert gpu.counts() == {"1g.5gb": 1, "1c.3g.20gb": 2}


def test_a_holder_reads_as_words() -> None:
    assert str(Holder(pid=7, process="python3", pod="train-0", namespace="ml")) == "process python3 (pid 7) of pod ml/train-0"
    assert str(Holder(pid=8, process="nv-hostengine", unit="nvidia-dcgm.service")) == (
        "process nv-hostengine (pid 8, unit nvidia-dcgm.service)"
    )
