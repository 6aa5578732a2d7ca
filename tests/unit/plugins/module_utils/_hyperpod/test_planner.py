# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: a table of situations, and properties that hold for every situation, interruption and interleaving."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.join import JoinData
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.planner import (
    SETTLING,
    BootstrapToken,
    Cluster,
    Observed,
    StoredSecret,
    Wanted,
    make_plan,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._hyperpod.token import TokenResource
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import Plan, PlanError, Step
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
NAME = "hyperpod-k8s-kb8v11zrrpvr"
WANTED = Wanted(True, NAME, "kb8v11zrrpvr")
CA, OTHER_CA = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SECRET = "0123456789abcdef"
CANDIDATE = ("newone", "fedcba9876543210")


def hours(number: float) -> datetime:
    return NOW + timedelta(hours=number)


def token(name: str = "abcdef", left: float | None = 40, **changes: t.Any) -> BootstrapToken:
    made = BootstrapToken(name, SECRET, None if left is None else hours(left), owner=NAME, created=hours(-8))
    return replace(made, **changes)


def join(of: BootstrapToken, **changes: t.Any) -> JoinData:
    return replace(JoinData("10.0.0.1:6443", of.id, of.secret, (CA,), of.expires, "kb8v11zrrpvr"), **changes)


def observed(secret: StoredSecret, *tokens: BootstrapToken, **changes: t.Any) -> Observed:
    cluster = Cluster("10.0.0.1:6443", (CA,), tokens, frozenset(token.id for token in tokens))
    return Observed(NOW, secret, replace(cluster, **changes), CANDIDATE)


def present(of: JoinData | None, **changes: t.Any) -> StoredSecret:
    return replace(StoredSecret("present", "v1", of), **changes)


LEGACY = join(token(), expires=None, cluster_id="", schema_version=0)
TABLE: dict[str, tuple[Observed, str, list[str]]] = {
    "nothing to do": (observed(present(join(token())), token()), "none", []),
    "no secret": (observed(StoredSecret("absent")), "create", ["create", "publish"]),
    "no secret, killed after the token": (observed(StoredSecret("absent"), token()), "create", ["publish"]),
    "scheduled for deletion": (observed(StoredSecret("scheduled", "v1")), "undelete", ["create", "restore", "publish"]),
    "garbage": (observed(present(None, fault="it is not JSON")), "repair", ["create", "publish"]),
    "garbage, old token": (observed(present(None), token("older1", 30)), "repair", ["publish"]),
    "token gone": (observed(present(join(token()))), "restore", ["create", "publish"]),
    "token with another secret": (observed(present(join(token(secret="x" * 16, owner=None))), token()), "restore", ["publish"]),
    "token lost its usage": (observed(present(join(token())), token(usable=False)), "restore", ["create", "publish", "retire"]),
    "23 h left": (observed(present(join(token(left=23))), token(left=23)), "renew", ["create", "publish", "retire"]),
    "made just now, but short": (
        observed(present(join(token(left=1))), token(left=1, created=NOW)),
        "renew",
        ["create", "publish", "retire"],
    ),
    "24 h left": (observed(present(join(token(left=24))), token(left=24)), "none", []),
    "expired": (observed(present(join(token(left=-1))), token(left=-1)), "renew", ["create", "publish"]),
    "expired and cleaned up": (observed(present(join(token(left=-1)))), "restore", ["create", "publish"]),
    "never expires, not ours": (observed(present(join(token(left=None))), token(left=None, owner=None)), "none", []),
    "short, not ours": (observed(present(join(token(left=1))), token(left=1, owner=None)), "renew", ["create", "publish"]),
    "short, of another secret": (
        observed(present(join(token(left=1))), token(left=1, owner="x")),
        "renew",
        ["create", "publish"],
    ),
    "rebuilt cluster": (observed(present(join(token(), ca_hashes=(OTHER_CA,)))), "replace", ["create", "publish"]),
    "endpoint moved": (observed(present(join(token(), endpoint="10.0.0.2:6443")), token()), "replace", ["publish"]),
    "CA rotation": (observed(present(join(token())), token(), ca_hashes=(OTHER_CA, CA)), "update", ["publish"]),
    "CA rotation ends": (observed(present(join(token(), ca_hashes=(CA, OTHER_CA))), token()), "update", ["publish"]),
    "written by the original scripts": (observed(present(LEGACY), token(owner=None)), "update", ["publish"]),
    "orphan of a killed run": (observed(present(join(token())), token(), token("orphan", 48)), "none", ["retire"]),
    "another run is at work": (observed(present(join(token())), token(), token("orphan", 48, created=hours(-0.1))), "none", []),
    "retired already": (observed(present(join(token())), token(), token("older1", 0.2)), "none", []),
    "someone else's tokens": (observed(present(join(token())), token(), token("theirs", 99, owner=None)), "none", []),
}


@pytest.mark.parametrize("case", TABLE)
def test_table(case: str) -> None:
    seen, reason, actions = TABLE[case]
    plan = make_plan(seen, WANTED)
    assert plan.facts["reason"] == reason
    assert [step.action for step in plan.steps] == actions
    assert plan.changed == bool(actions)


def test_the_new_token() -> None:
    plan = make_plan(observed(StoredSecret("absent")), replace(WANTED, ttl=timedelta(hours=30)))
    create, publish = plan.steps
    assert create.args["token"] == BootstrapToken(*CANDIDATE, hours(30), owner=NAME, created=NOW)
    assert publish.args["join"] == join(token("newone", 30, secret=CANDIDATE[1]))


def test_an_unpublished_token_with_the_longest_life_is_used() -> None:
    plan = make_plan(observed(StoredSecret("absent"), token("aaaaaa", 30), token("bbbbbb", 40), token("cccccc", 23)), WANTED)
    assert [str(step) for step in plan.steps] == [
        f"publish secret {NAME}",
        "retire bootstrap token aaaaaa",
        "retire bootstrap token cccccc",
    ]
    assert plan.steps[0].args["join"].token_id == "bbbbbb"


@pytest.mark.parametrize(("grace", "end"), [(timedelta(minutes=15), hours(0.25)), (timedelta(), None)])
def test_the_old_token_lives_for_the_grace(grace: timedelta, end: datetime | None) -> None:
    seen = observed(present(join(token(left=1))), token(left=1))
    assert make_plan(seen, replace(WANTED, grace=grace)).steps[-1].args == {"token": token(left=1), "expires": end}


@pytest.mark.parametrize(("ttl", "renew_before"), [(24, 24), (1, 24), (48, 0), (0, 0)])
def test_a_life_that_would_be_renewed_for_ever(ttl: int, renew_before: int) -> None:
    wanted = replace(WANTED, ttl=timedelta(hours=ttl), renew_before=timedelta(hours=renew_before))
    with pytest.raises(PlanError, match=r"^renew_before \(.*\) must be more than 0 and less than ttl"):
        make_plan(observed(StoredSecret("absent")), wanted)


class TestAnotherHyperPodCluster:
    others = present(join(token(), cluster_id="otherone1234", ca_hashes=(OTHER_CA,)))

    def test_is_refused_with_what_to_do(self) -> None:
        with pytest.raises(PlanError, match="secretsmanager delete-secret") as refused:
            make_plan(observed(self.others), WANTED)
        for word in (NAME, "otherone1234", "kb8v11zrrpvr", "secret_name of its own", "state absent"):
            assert word in str(refused.value)
        assert SECRET not in str(refused.value)

    def test_its_secret_is_not_deleted(self) -> None:
        plan = make_plan(observed(self.others, token()), replace(WANTED, present=False, force_delete=True))
        assert [step.action for step in plan.steps] == ["retire"]
        assert plan.warnings == (f"the secret {NAME} stays: it is of the HyperPod cluster otherone1234, not of kb8v11zrrpvr",)

    def test_by_its_owner_it_is(self) -> None:
        owner = replace(WANTED, present=False, cluster_id="otherone1234")
        assert [step.action for step in make_plan(observed(self.others), owner).steps] == ["delete"]

    @pytest.mark.parametrize(
        ("secret", "wanted"),
        [
            (replace(others, state="scheduled"), WANTED),
            (others, replace(WANTED, cluster_id="")),  # only the secret's name was given
            (present(join(token(), cluster_id="")), WANTED),
        ],
    )
    def test_what_is_handed_over_or_of_nobody_is_taken(self, secret: StoredSecret, wanted: Wanted) -> None:
        assert [step.action for step in make_plan(observed(secret), wanted).steps][-1] == "publish"


class TestItsRestoredSecret:
    """It was scheduled for deletion when a run for this cluster restored it, and still has the other cluster's value."""

    theirs = replace(TestAnotherHyperPodCluster.others, created=hours(-9))

    @pytest.mark.parametrize(
        ("secret", "changes", "released"),
        [
            (theirs, {}, None),  # token() is an hour younger
            (replace(theirs, created=NOW), {}, "v1"),
            (replace(theirs, created=NOW), {"owner": None}, "v1"),
        ],
    )
    def test_is_replaced(self, secret: StoredSecret, changes: dict[str, t.Any], released: str | None) -> None:
        plan = make_plan(replace(observed(secret, token(**changes)), released=released), WANTED)
        assert [step.action for step in plan.steps][-1] == "publish"
        assert plan.steps[-1].args["join"].cluster_id == WANTED.cluster_id

    @pytest.mark.parametrize(
        ("secret", "changes", "released"),
        [
            (replace(theirs, created=hours(-7)), {}, None),  # made after the token was
            (theirs, {"owner": "another"}, None),
            (theirs, {"owner": None}, None),
            (replace(theirs, created=None), {}, None),
            (replace(theirs, version="v2", created=NOW), {}, "v1"),  # its owner has published again
        ],
    )
    def test_is_left_where_it_may_be_in_use(self, secret: StoredSecret, changes: dict[str, t.Any], released: str | None) -> None:
        with pytest.raises(PlanError, match="otherone1234"):
            make_plan(replace(observed(secret, token(**changes)), released=released), WANTED)

    @pytest.mark.parametrize("steps", range(4))
    def test_killed_anywhere_the_next_run_goes_on(self, steps: int) -> None:
        world = World(NOW, Cluster("10.0.0.1:6443", (CA,)), replace(self.theirs, state="scheduled"))
        assert len(world.run(WANTED, stop_after=steps).steps) == 3
        world.now += timedelta(hours=1)
        world.run(WANTED)
        assert world.published() and world.secret.join and world.secret.join.cluster_id == WANTED.cluster_id
        assert len(world.cluster.tokens) == 1


class TestCertificateKey:
    wanted = replace(WANTED, certificate_key="k" * 64)

    def test_is_published_with_its_end(self) -> None:
        plan = make_plan(observed(present(join(token())), token(), certificates_expire=hours(2)), self.wanted)
        assert plan.facts["reason"] == "update"
        assert plan.steps[0].args["join"] == join(token(), certificate_key="k" * 64, certificate_key_expires=hours(2))

    def test_is_refused_without_uploaded_certificates(self) -> None:
        with pytest.raises(PlanError, match=r"^certificate_key was given, but .*kubeadm init phase upload-certs"):
            make_plan(observed(present(join(token())), token()), self.wanted)

    @pytest.mark.parametrize(("end", "ca", "kept"), [(1, CA, True), (-1, CA, False), (1, OTHER_CA, False)])
    def test_stays_in_a_rewritten_secret_while_it_is_good(self, end: float, ca: str, kept: bool) -> None:
        old = join(token(left=1), ca_hashes=(ca,), certificate_key="k" * 64, certificate_key_expires=hours(end))
        written = next(s for s in make_plan(observed(present(old), token(left=1)), WANTED).steps if s.action == "publish").args[
            "join"
        ]
        assert written.certificate_key == ("k" * 64 if kept else None)

    def test_a_later_run_without_it_changes_nothing(self) -> None:
        published = join(token(), certificate_key="k" * 64, certificate_key_expires=hours(1))
        assert not make_plan(observed(present(published), token()), WANTED).changed


class TestWarnings:
    def test_garbage_is_named(self) -> None:
        (warning,) = make_plan(observed(present(None, fault="it is not JSON")), WANTED).warnings
        assert "held something else (it is not JSON) and is replaced" in warning and "AWSPREVIOUS" in warning

    def test_another_cluster_is_named(self) -> None:
        (warning,) = make_plan(observed(present(join(token(), ca_hashes=(OTHER_CA,)))), WANTED).warnings
        assert OTHER_CA in warning and "secret_name of its own" in warning

    def test_a_token_that_nobody_signs(self) -> None:
        (warning,) = make_plan(observed(present(join(token())), token(), signed=frozenset()), WANTED).warnings
        assert "no signature for the token abcdef" in warning and "kube-controller-manager" in warning


class TestAbsent:
    wanted = replace(WANTED, present=False)

    @pytest.mark.parametrize(
        ("secret", "force", "actions"),
        [
            (present(join(token())), False, ["delete", "retire"]),
            (present(None, fault="garbage"), False, ["delete", "retire"]),
            (StoredSecret("absent"), False, ["retire"]),
            (StoredSecret("scheduled", "v1"), False, ["retire"]),
            (StoredSecret("scheduled", "v1"), True, ["delete", "retire"]),
        ],
    )
    def test_secret_first_then_our_tokens(self, secret: StoredSecret, force: bool, actions: list[str]) -> None:
        seen = observed(secret, token(), token("theirs", owner=None), token("other1", owner="another"))
        plan = make_plan(seen, replace(self.wanted, force_delete=force))
        assert [step.action for step in plan.steps] == actions
        assert plan.steps[-1].args == {"token": token(), "expires": None}

    def test_a_cluster_that_is_gone_holds_up_nothing(self) -> None:
        plan = make_plan(Observed(NOW, present(join(token())), None, CANDIDATE, "https://10.0.0.1 gave no answer"), self.wanted)
        assert [step.action for step in plan.steps] == ["delete"]
        assert plan.warnings == ("no token was revoked, each ends by its own expiry: https://10.0.0.1 gave no answer",)


def test_no_plan_shows_a_secret() -> None:
    for seen, _reason, _actions in TABLE.values():
        shown = repr(make_plan(seen, replace(WANTED)).result()) + repr(seen) + repr(make_plan(seen, WANTED))
        assert SECRET not in shown and CANDIDATE[1] not in shown


# --- Properties: a small model of both sides, on which the steps are executed.


class Late(Exception):
    """What the real store raises as Conflict."""


@dataclass
class World:
    """Both sides as AWS and Kubernetes keep them: the write of the secret is conditional, ids of tokens are unique."""

    now: datetime
    cluster: Cluster
    secret: StoredSecret
    writes: int = 0
    ids: list[str] = field(default_factory=list)

    def observe(self) -> Observed:
        self.ids.append(f"n{len(self.ids):05d}")
        return Observed(self.now, self.secret, self.cluster, (self.ids[-1], SECRET))

    def execute(self, step: Step) -> None:
        tokens = {token.id: token for token in self.cluster.tokens}
        if step.action == "create":
            made = step.args["token"]
            assert made.id not in tokens
            tokens[made.id] = replace(made, created=self.now)
        elif step.action == "retire":
            old, end = step.args["token"], step.args["expires"]
            if tokens.get(old.id, old) != old:
                raise Late
            if end is None:
                tokens.pop(old.id, None)
            elif old.id in tokens:
                tokens[old.id] = replace(old, expires=end)
        elif step.action == "publish":
            base: StoredSecret = step.args["secret"]
            if (base.state == "absent") != (self.secret.state == "absent") or self.secret.state == "scheduled":
                raise Late
            if base.version != self.secret.version:
                raise Late
            self.writes += 1
            self.secret = StoredSecret("present", f"w{self.writes}", step.args["join"])
        elif step.action == "restore":
            self.secret = replace(self.secret, state="present")
        elif step.action == "delete":
            self.secret = replace(self.secret, state="scheduled")
        self.cluster = replace(self.cluster, tokens=tuple(tokens.values()))

    def withdraw(self, plan: Plan) -> None:
        """What the real writer undoes when it comes too late: its own token, unless that is published."""
        for step in plan.steps:
            if step.action == "create" and not (self.secret.join and self.secret.join.token_id == step.args["token"].id):
                self.cluster = replace(
                    self.cluster, tokens=tuple(token for token in self.cluster.tokens if token.id != step.args["token"].id)
                )

    def run(self, wanted: Wanted, stop_after: int | None = None) -> Plan:
        plan = make_plan(self.observe(), wanted)
        for step in plan.steps[:stop_after]:
            self.execute(step)
        return plan

    def published(self) -> BootstrapToken | None:
        named = self.secret.join if self.secret.state == "present" else None
        return next((token for token in self.cluster.tokens if named and token.id == named.token_id), None)


lives = st.sampled_from([None, -1.0, 0.1, 0.25, 1.0, 23.0, 24.0, 30.0, 48.0, 200.0])
ages = st.sampled_from([None, -100.0, -1.0, -0.16, -0.01, 0.0])
tokens = st.builds(
    lambda name, left, owner, usable, age, secret: token(
        name, left, owner=owner, usable=usable, created=None if age is None else hours(age), secret=secret
    ),
    st.sampled_from(["aaaaaa", "bbbbbb", "cccccc", "dddddd"]),
    lives,
    st.sampled_from([NAME, NAME, None, "another"]),
    st.booleans() | st.just(True),
    ages,
    st.sampled_from([SECRET, SECRET, "x" * 16]),
)
graces = st.sampled_from([timedelta(), timedelta(minutes=15), timedelta(hours=30), timedelta(hours=100)])
wanteds = st.builds(
    lambda ttl, part, grace: Wanted(True, NAME, "kb8v11zrrpvr", None, ttl, ttl * part, grace),
    st.sampled_from([timedelta(hours=48), timedelta(hours=2), timedelta(days=30)]),
    st.sampled_from([0.1, 0.5, 0.9]),
    graces,
)


@st.composite
def worlds(draw: t.Any) -> World:
    those = tuple({made.id: made for made in draw(st.lists(tokens, max_size=4))}.values())
    cluster = Cluster(
        draw(st.sampled_from(["10.0.0.1:6443", "[fd00::1]:6443"])), draw(st.sampled_from([(CA,), (CA, OTHER_CA)])), those
    )
    named = draw(st.sampled_from([*those, token("zzzzzz")]))
    published = replace(
        join(named),
        ca_hashes=draw(st.sampled_from([(CA,), (OTHER_CA,), (OTHER_CA, CA)])),
        schema_version=draw(st.sampled_from([0, 1, 2])),
    )
    secret = draw(
        st.sampled_from(
            [StoredSecret("absent"), StoredSecret("scheduled", "v1"), present(None, fault="garbage"), present(published)]
        )
    )
    return World(NOW, cluster, secret)


def foreign(world: World) -> set[BootstrapToken]:
    return {token for token in world.cluster.tokens if token.owner != NAME}


@given(worlds(), wanteds)
def test_one_run_settles_it(world: World, wanted: Wanted) -> None:
    world.run(wanted)
    plan = make_plan(world.observe(), wanted)
    assert not plan.changed and plan.facts["reason"] == "none"
    published = world.published()
    assert published and published.usable and published.life(world.now) >= wanted.renew_before
    assert world.secret.join and world.secret.join.ca_hashes == world.cluster.ca_hashes


@given(worlds(), wanteds)
def test_tokens_of_others_are_never_touched(world: World, wanted: Wanted) -> None:
    theirs = foreign(world)
    world.run(wanted)
    world.run(replace(wanted, present=False))
    assert foreign(world) == theirs


@given(worlds(), wanteds, st.lists(st.integers(0, 4), max_size=3))
def test_killed_anywhere_a_later_run_settles_it(world: World, wanted: Wanted, kills: list[int]) -> None:
    for steps in kills:
        before = world.published()
        world.run(wanted, stop_after=steps)
        after = world.published()
        assert before is None or (after is not None and after.secret), "a published token vanished"
    count = len(world.cluster.tokens)
    world.run(wanted)
    assert len(world.cluster.tokens) <= count + 1
    assert not make_plan(world.observe(), wanted).changed


@given(worlds(), wanteds, st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8))
def test_run_often_enough_the_published_token_never_ends(world: World, wanted: Wanted, pauses: list[float]) -> None:
    world.run(wanted)
    for part in pauses:
        world.now += wanted.renew_before * part
        published = world.published()
        assert published and published.life(world.now) > timedelta()
        world.cluster = replace(  # what Kubernetes' token cleaner does
            world.cluster, tokens=tuple(token for token in world.cluster.tokens if token.life(world.now) > timedelta())
        )
        world.run(wanted)
    mine = [token for token in world.cluster.tokens if token.owner == NAME and token.life(world.now) > wanted.grace]
    # One that another writer may be about to publish is let alone.
    settled = [token for token in mine if token.created is None or world.now - token.created > SETTLING]
    assert len(settled) <= 1 + len(pauses)


@given(worlds(), wanteds, st.lists(st.integers(0, 2), max_size=40))
def test_writers_at_once_end_in_agreement(world: World, wanted: Wanted, order: list[int]) -> None:
    """Three writers, any interleaving of their single steps; one that is late withdraws and starts again."""
    at_work: dict[int, tuple[Plan, int]] = {}
    for writer in [*order, *([0] * 40), *([1] * 40), *([2] * 40)]:
        plan, done = at_work.get(writer) or (make_plan(world.observe(), wanted), 0)
        at_work[writer] = (plan, done + 1)
        if done < len(plan.steps):
            try:
                world.execute(plan.steps[done])
            except Late:
                world.withdraw(plan)
                del at_work[writer]
        elif make_plan(world.observe(), wanted).changed:  # it reads back, and is not satisfied
            del at_work[writer]
    assert not make_plan(world.observe(), wanted).changed
    assert world.published()


@given(worlds(), wanteds)
def test_absent_leaves_nothing_of_ours(world: World, wanted: Wanted) -> None:
    gone = replace(wanted, present=False)
    world.run(gone)
    assert not make_plan(world.observe(), gone).changed
    assert world.secret.state != "present"
    assert all(token.owner != NAME for token in world.cluster.tokens)


@pytest.mark.parametrize("absent", [True, False])
def test_only_what_is_present_has_a_reason(monkeypatch: pytest.MonkeyPatch, absent: bool) -> None:
    """Read back after all steps; with `state: absent` the result had a null that RETURN does not promise."""
    after = observed(StoredSecret("absent")) if absent else observed(present(join(token())), token())
    store: t.Any = SimpleNamespace(client=SimpleNamespace(region="us-west-2"))
    resource = TokenResource(t.cast("t.Any", None), store, replace(WANTED, present=not absent))
    monkeypatch.setattr(resource, "observe", lambda: after)
    plan = resource.plan(observed(present(join(token()), version="v0") if absent else StoredSecret("absent")))
    assert resource.verify(plan).get("reason", "-") == ("-" if absent else "create")
