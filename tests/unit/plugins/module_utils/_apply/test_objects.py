# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Overrides, patches (with the cases of their RFCs), comparison and the inventory."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible_collections.gpufleet.k8s.plugins.module_utils._apply.objects import (
    Ref,
    apply_patches,
    inventory,
    json_patch,
    masked,
    merge_patch,
    narrowed,
    override_images,
    parse_stream,
    prepare,
    ref_of,
    remembered,
    split_image,
    wished_part,
)
from ansible_collections.gpufleet.k8s.plugins.module_utils._plan import PlanError
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True)
REFS = st.builds(
    Ref,
    st.sampled_from(["v1", "apps/v1", "apps/v1beta1", "x.example/v1"]),
    st.sampled_from(["ConfigMap", "Deployment", "Namespace"]),
    NAMES,
    NAMES,
)


def config(name: str = "c", **metadata: t.Any) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"a": "1"}}


# https://www.rfc-editor.org/rfc/rfc7386 appendix A
@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: t.Any, patch: t.Any, expected: t.Any) -> None:
    before = copy.deepcopy(target)
    assert merge_patch(target, patch) == expected
    assert target == before


@given(target=JSON, patch=JSON)
def test_merging_twice_is_merging_once(target: t.Any, patch: t.Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


# https://www.rfc-editor.org/rfc/rfc6902 appendix A, as far as the operations are known here
@pytest.mark.parametrize(
    ("document", "operation", "expected"),
    [
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"}, {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "c"]}, {"op": "add", "path": "/foo/1", "value": "b"}, {"foo": ["a", "b", "c"]}),
        ({"foo": ["a"]}, {"op": "add", "path": "/foo/-", "value": ["b"]}, {"foo": ["a", ["b"]]}),
        ({"baz": 1, "foo": 2}, {"op": "remove", "path": "/baz"}, {"foo": 2}),
        ({"foo": ["a", "b"]}, {"op": "remove", "path": "/foo/0"}, {"foo": ["b"]}),
        ({"a": {"b": 1}}, {"op": "replace", "path": "/a/b", "value": None}, {"a": {"b": None}}),
        ({"a": [1, 2]}, {"op": "replace", "path": "/a/1", "value": 3}, {"a": [1, 3]}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": 1}, {"a": 1}),
        ({"a/b": {"m~n": 8}}, {"op": "replace", "path": "/a~1b/m~0n", "value": 9}, {"a/b": {"m~n": 9}}),
    ],
)
def test_json_patch(document: t.Any, operation: dict[str, t.Any], expected: t.Any) -> None:
    json_patch(document, operation, "patches[0]")
    assert document == expected


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"op": "remove", "path": "/data/b"}, r"patches\[0\]: there is nothing at /data/b in ConfigMap c"),
        ({"op": "replace", "path": "/data/b/c", "value": 1}, "there is nothing at /data/b/c"),
        ({"op": "replace", "path": "/data/a/x/y", "value": 1}, "there is nothing at /data/a/x/y"),
        ({"op": "test", "path": "/data/a", "value": "2"}, "/data/a of ConfigMap c is '1', not '2'"),
        ({"op": "move", "path": "/data/a", "from": "/b"}, "is no operation of RFC 6902 known here"),
        ({"op": "add", "path": "/data/a"}, "is no operation of RFC 6902 known here"),
        ({"op": "add", "path": "data", "value": 1}, "is no operation of RFC 6902 known here"),
    ],
)
def test_json_patch_refuses(operation: dict[str, t.Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        json_patch(config(), operation, "patches[0]")


def test_patches_find_their_objects_and_leave_the_input_alone() -> None:
    objects = [config("a"), config("b", namespace="x"), {**config("a"), "kind": "Secret"}]
    before = copy.deepcopy(objects)
    one: dict[str, t.Any] = {"kind": "ConfigMap", "name": None, "namespace": None, "patch": {"data": {"n": "1"}}}
    two = {"kind": "ConfigMap", "name": "a", "namespace": "default", "patch": [{"op": "remove", "path": "/data/a"}]}
    patched = apply_patches(objects, [one, two], "default")
    assert [o["data"] for o in patched] == [{"n": "1"}, {"a": "1", "n": "1"}, {"a": "1"}]
    assert objects == before
    with pytest.raises(PlanError, match=r"patches\[0\]: the manifests have no ConfigMap x a"):
        apply_patches(objects, [{**two, "namespace": "x"}], "default")
    with pytest.raises(PlanError, match="neither a dict"):
        apply_patches(objects, [{**one, "patch": "words"}], "default")


@pytest.mark.parametrize(
    ("image", "name", "tag"),
    [
        ("nginx", "nginx", ""),
        ("nginx:1.2", "nginx", ":1.2"),
        ("host:5000/a/b", "host:5000/a/b", ""),
        ("host:5000/a/b:1", "host:5000/a/b", ":1"),
        ("a/b@sha256:" + "0" * 64, "a/b", "@sha256:" + "0" * 64),
        ("a/b:1@sha256:" + "0" * 64, "a/b", ":1@sha256:" + "0" * 64),
    ],
)
def test_split_image(image: str, name: str, tag: str) -> None:
    assert split_image(image) == (name, tag)


def workload(*images: str) -> dict[str, t.Any]:
    """The first image is that of an init container; the structure is as deep as a CronJob's."""
    containers = [{"name": str(n), "image": image} for n, image in enumerate(images)]
    pod = {"initContainers": containers[:1], "containers": containers[1:]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "w"},
        "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}},
    }


def images_of(obj: dict[str, t.Any]) -> list[str]:
    pod = obj["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return [container["image"] for container in pod["initContainers"] + pod["containers"]]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"a": "m/a"}, ["m/a:1", "m/a:2", "b@sha256:x"]),
        ({"a:1": "c:9"}, ["c:9", "a:2", "b@sha256:x"]),
        ({"a": "m/a", "a:2": "special:3"}, ["m/a:1", "special:3", "b@sha256:x"]),
        ({"b": "c:3"}, ["a:1", "a:2", "c:3"]),
    ],
)
def test_images(overrides: dict[str, str], expected: list[str]) -> None:
    original = workload("a:1", "a:2", "b@sha256:x")
    assert images_of(override_images([original], overrides)[0]) == expected
    assert images_of(original) == ["a:1", "a:2", "b@sha256:x"]


def test_an_image_that_nobody_uses_is_a_mistake() -> None:
    schema = {"kind": "CustomResourceDefinition", "spec": {"containers": {"image": "no container"}}}
    with pytest.raises(PlanError, match="images: no container uses 'x'; the manifests have a:1, b"):
        override_images([workload("a:1", "b"), schema], {"x": "y"})


@given(documents=st.lists(st.dictionaries(st.sampled_from(["a", "b"]), JSON), max_size=4), indent=st.sampled_from([None, 4]))
def test_parse_stream(documents: list[dict[str, t.Any]], indent: int | None) -> None:
    assert parse_stream("\n".join(json.dumps(document, indent=indent) for document in documents) + "\n") == documents


def test_lists_are_flattened() -> None:
    assert parse_stream(json.dumps({"kind": "List", "items": [config("a"), config("b")]})) == [config("a"), config("b")]
    assert parse_stream(json.dumps({"kind": "ConfigMapList", "items": [config("a")]})) == [config("a")]


def test_order_is_by_need_then_as_given() -> None:
    kinds = ["Deployment", "MutatingWebhookConfiguration", "CustomResourceDefinition", "Widget", "Namespace", "Service"]
    objects = [{"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "status": {"a": 1}} for kind in kinds]
    prepared = prepare(objects, "ns")
    assert [o["kind"] for o in prepared] == [
        "Namespace",
        "CustomResourceDefinition",
        "Deployment",
        "Widget",
        "Service",
        "MutatingWebhookConfiguration",
    ]
    assert all(o["metadata"]["namespace"] == "ns" and "status" not in o for o in prepared)
    assert all("namespace" not in o["metadata"] for o in objects), "the input is left alone"


PASSWORD = "hunter2"
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"password": PASSWORD}}


@pytest.mark.parametrize(
    ("change", "patch", "says"),
    [
        ({"metadata": None}, {}, "document 1 is no Kubernetes object: .*; it has apiVersion, kind, metadata, stringData"),
        ({"metadata": "x"}, {}, "the manifests have no Secret x"),
        ({}, ["x"], r"patches\[0\].patch: each operation of a JSON patch is a dict \(RFC 6902\), and one is a str"),
        ({}, [{"op": "ad", "path": "/a", "value": PASSWORD}], r"patches\[0\]: 'ad' at '/a' is no operation"),
        (
            {},
            [{"op": "test", "path": "/stringData/password", "value": "y"}],
            "/stringData/password of Secret x is not what the test",
        ),
    ],
)
def test_refusals_show_nothing_of_a_secret(change: dict[str, t.Any], patch: t.Any, says: str) -> None:
    patches = [{"kind": "Secret", "name": "x", "namespace": None, "patch": patch}] if patch or change.get("metadata") else []
    with pytest.raises(PlanError, match=says) as caught:
        prepare(apply_patches([{**SECRET, **change}], patches, "default"), "default")
    assert PASSWORD not in caught.value.message


def test_the_same_object_in_two_versions_is_there_twice() -> None:
    objects = [{"apiVersion": f"apps/{v}", "kind": "Deployment", "metadata": {"name": "x"}} for v in ("v1", "v1beta1")]
    with pytest.raises(PlanError, match="Deployment x is there twice"):
        prepare(objects, "default")


OBJECTS = st.dictionaries(st.text("abc", min_size=1, max_size=2), JSON, max_size=4)


@given(before=OBJECTS, after=OBJECTS)
def test_narrowed_is_a_difference_from_which_the_rest_follows(before: dict[str, t.Any], after: dict[str, t.Any]) -> None:
    def rebuilt(before: dict[str, t.Any], left: dict[str, t.Any], right: dict[str, t.Any]) -> dict[str, t.Any]:
        result = {key: value for key, value in before.items() if key not in left or key in right}
        for key, value in right.items():
            inner = isinstance(value, dict) and isinstance(before.get(key), dict)
            result[key] = rebuilt(before[key], left[key], value) if inner else value
        return result

    left, right = narrowed(before, after)
    assert rebuilt(before, left, right) == after
    assert all(left.get(key, ...) != right.get(key, ...) for key in {**left, **right}), "something that is the same"


@given(
    before=st.dictionaries(NAMES, st.text(min_size=8, max_size=12)),
    after=st.dictionaries(NAMES, st.text(min_size=8, max_size=12)),
)
def test_masked_secrets_show_no_value_but_every_difference(before: dict[str, str], after: dict[str, str]) -> None:
    def secret(data: dict[str, str]) -> dict[str, t.Any]:
        return {"kind": "Secret", "metadata": {"name": "s"}, "data": data}

    left, right = masked(secret(before), secret(after))
    assert left is not None
    assert right is not None
    shown = {*left["data"].values(), *right["data"].values()}
    assert shown <= {"***", "*** (before)", "*** (after)"}
    assert set(left["data"]) == set(before)
    assert set(right["data"]) == set(after)
    for key in before.keys() & after.keys():
        assert (left["data"][key] == right["data"][key]) == (before[key] == after[key])
    assert masked(None, secret(after))[1]["data"] == dict.fromkeys(after, "***")  # type: ignore[index]


def test_masked_hides_the_copy_that_client_side_apply_left() -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "geheim", "kept": "x"}
    secret = {"kind": "Secret", "metadata": {"name": "s", "annotations": annotations}, "data": {}}
    assert "geheim" not in json.dumps(masked(secret, secret))
    assert masked(config(), None)[0] == config()


def test_wished_part() -> None:
    live = {**config(uid="1", resourceVersion="2", generation=3, labels={"a": "b"}), "status": {"x": 1}}
    assert wished_part(live) == config(labels={"a": "b"})


@given(refs=st.lists(REFS))
def test_inventory_round_trip(refs: list[Ref]) -> None:
    assert remembered(inventory("x", "kube-system", refs)) == refs
    assert [ref_of(ref.manifest()) for ref in refs] == refs


def test_an_inventory_of_somebody_else() -> None:
    assert remembered(None) == []
    with pytest.raises(PlanError, match="ConfigMap kube-system/gpufleet-set-x should list"):
        remembered({**inventory("x", "kube-system", []), "data": {"objects": "too many words in this line"}})
