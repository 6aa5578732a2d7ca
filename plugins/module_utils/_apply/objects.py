# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Kubernetes objects as dicts: identity, overrides, order and comparison. Pure: no I/O."""

from __future__ import annotations

import copy
import json
import re
import typing as t
from dataclasses import dataclass

from .._plan import PlanError

Object = dict[str, t.Any]
CRD = "CustomResourceDefinition"
#: What the API server writes, not the manifest.
SERVER_FIELDS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
SHOWN_BYTES = 64 << 10  # of an object in a diff


@dataclass(frozen=True, order=True)
class Ref:
    """Which object. The API server ignores `namespace` for cluster-scoped kinds, so every reference has one."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Identity: another version of the same API group is the same object."""
        return (self.group, self.kind, self.namespace, self.name)

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.namespace == "default" else f"{self.kind} {self.namespace}/{self.name}"

    def manifest(self) -> Object:
        """Enough of a manifest for kubectl get and delete."""
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": {"namespace": self.namespace, "name": self.name}}


def ref_of(obj: Object, namespace: str = "default") -> Ref:
    metadata = obj["metadata"]
    return Ref(obj["apiVersion"], obj["kind"], metadata.get("namespace") or namespace, metadata["name"])


def parse_stream(text: str) -> list[Object]:
    """The objects in kubectl's JSON output: one document, several in a row, or Lists."""
    decoder = json.JSONDecoder()
    objects: list[Object] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position == len(text):
            return objects
        document, position = decoder.raw_decode(text, position)
        objects.extend(flatten(document))


def flatten(document: Object) -> list[Object]:
    items = document.get("items")
    return list(items) if str(document.get("kind", "")).endswith("List") and isinstance(items, list) else [document]


def as_list(objects: t.Iterable[Object]) -> str:
    """What kubectl reads from its standard input."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


def prepare(objects: t.Sequence[Object], namespace: str) -> list[Object]:
    """Checks that these are objects with names, gives them a namespace, and refuses two with one identity."""
    seen: dict[tuple[str, str, str, str], Ref] = {}
    result = []
    for number, original in enumerate(objects):
        obj = copy.copy(original)
        metadata = obj.get("metadata") if isinstance(obj, dict) else None
        if not isinstance(metadata, dict) or not obj.get("kind") or not obj.get("apiVersion"):
            # Values may be a Secret's
            has = f"has {', '.join(map(str, obj)) or 'nothing'}" if isinstance(obj, dict) else f"is a {type(obj).__name__}"
            raise PlanError(f"document {number + 1} is no Kubernetes object: it needs apiVersion, kind and metadata; it {has}")
        if not metadata.get("name"):
            raise PlanError(f"document {number + 1} ({obj['kind']}) has no metadata.name; generateName cannot be applied twice")
        obj["metadata"] = {**metadata, "namespace": metadata.get("namespace") or namespace}
        obj.pop("status", None)
        ref = ref_of(obj)
        if ref.key in seen:
            raise PlanError(f"{ref} is there twice in the manifests")
        seen[ref.key] = ref
        result.append(obj)
    return sorted(result, key=_rank)


def _rank(obj: Object) -> int:
    """Namespaces and definitions first, webhooks last, else the order of the manifests (sorted() is stable)."""
    kind = obj["kind"]
    return 0 if kind == "Namespace" else 1 if kind == CRD else 3 if kind.endswith("WebhookConfiguration") else 2


def defined_kinds(objects: t.Iterable[Object]) -> set[tuple[str, str]]:
    """(group, kind) of every CustomResourceDefinition in the set."""
    specs = [o["spec"] for o in objects if o["kind"] == CRD and "spec" in o]  # without one: enough of a manifest to delete it
    return {(spec["group"], spec["names"]["kind"]) for spec in specs}


# overrides -----------------------------------------------------------------------------------------------------------


def override_images(objects: t.Sequence[Object], images: t.Mapping[str, str]) -> list[Object]:
    """Replaces images. A key is an image with or without its tag; a value without a tag keeps the old one.

    Raises PlanError for a key that no container uses.
    """
    result = copy.deepcopy(list(objects)) if images else list(objects)
    seen: set[str] = set()
    used: set[str] = set()
    for container in _containers(result) if images else ():
        image = container["image"]
        seen.add(image)
        name, tag = split_image(image)
        for key in (image, name):
            if key in images:
                used.add(key)
                new_name, new_tag = split_image(str(images[key]))
                container["image"] = new_name + (new_tag or tag)
                break
    for key in images:
        if key not in used:
            raise PlanError(f"images: no container uses '{key}'; the manifests have {', '.join(sorted(seen)) or 'no images'}")
    return result


def split_image(image: str) -> tuple[str, str]:
    """`host:5000/a/b:1@sha256:x` -> (`host:5000/a/b`, `:1@sha256:x`)."""
    match = re.fullmatch(r"(.+?)((?::[^:/@]+)?(?:@.+)?)", image)
    return (match.group(1), match.group(2)) if match else (image, "")


def _containers(node: t.Any) -> t.Iterator[Object]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("containers", "initContainers", "ephemeralContainers") and isinstance(value, list):
                yield from (c for c in value if isinstance(c, dict) and isinstance(c.get("image"), str))
            yield from _containers(value)
    elif isinstance(node, list):
        for value in node:
            yield from _containers(value)


def apply_patches(objects: t.Sequence[Object], patches: t.Sequence[t.Mapping[str, t.Any]], namespace: str) -> list[Object]:
    """Each patch changes every object it names. Raises PlanError for one that names none."""
    result = list(objects)
    for number, patch in enumerate(patches):
        hit = False
        for position, obj in enumerate(result):
            metadata = obj.get("metadata")
            metadata = metadata if isinstance(metadata, dict) else {}  # prepare() refuses it
            wanted = (
                patch["kind"],
                patch["name"] or metadata.get("name"),
                patch["namespace"] or metadata.get("namespace") or namespace,
            )
            if (obj.get("kind"), metadata.get("name"), metadata.get("namespace") or namespace) == wanted:
                hit = True
                result[position] = _patched(obj, patch["patch"], f"patches[{number}]")
        if not hit:
            what = " ".join(str(patch[key]) for key in ("kind", "namespace", "name") if patch[key])
            raise PlanError(f"patches[{number}]: the manifests have no {what}")
    return result


def _patched(obj: Object, patch: t.Any, where: str) -> Object:
    if isinstance(patch, dict):
        return t.cast(Object, merge_patch(obj, patch))
    if not isinstance(patch, list):
        raise PlanError(f"{where}.patch is neither a dict (merge patch, RFC 7386) nor a list (JSON patch, RFC 6902)")
    result = copy.deepcopy(obj)
    for operation in patch:
        if not isinstance(operation, dict):
            raise PlanError(
                f"{where}.patch: each operation of a JSON patch is a dict (RFC 6902), and one is a {type(operation).__name__}"
            )
        json_patch(result, operation, where)
    return result


def merge_patch(target: t.Any, patch: t.Any) -> t.Any:
    """RFC 7386: dicts are merged, None removes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(document: t.Any, operation: t.Mapping[str, t.Any], where: str) -> None:
    """One operation of RFC 6902 in place: add, replace, remove, test. Raises PlanError."""
    op, path = operation.get("op"), str(operation.get("path", ""))
    if (
        op not in ("add", "replace", "remove", "test")
        or not path.startswith("/")
        or (op != "remove" and "value" not in operation)
    ):
        raise PlanError(
            f"{where}: {op!r} at {path!r} is no operation of RFC 6902 known here (add, replace, remove, test; path; value)"
        )
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    value = copy.deepcopy(operation.get("value"))
    try:
        node = document
        for part in parents:
            node = node[int(part) if isinstance(node, list) else part]
        if isinstance(node, list) and op == "add":
            node.insert(len(node) if last == "-" else int(last), value)
            return
        key: t.Any = int(last) if isinstance(node, list) else last
        if op == "add":
            node[key] = value
            return
        present = node[key]
    except (KeyError, IndexError, ValueError, TypeError):
        raise PlanError(f"{where}: there is nothing at {path} in {ref_of(document)}") from None
    if op == "remove":
        del node[key]
    elif op == "replace":
        node[key] = value
    elif present != value:
        differs = "is not what" if document.get("kind") == "Secret" else f"is {present!r}, not {value!r} as"
        raise PlanError(f"{where}: {path} of {ref_of(document)} {differs} the test operation says")


# comparison ----------------------------------------------------------------------------------------------------------


def wished_part(obj: Object) -> Object:
    """An object of the API server without what the server itself writes."""
    result = {key: value for key, value in obj.items() if key != "status"}
    result["metadata"] = {key: value for key, value in obj["metadata"].items() if key not in SERVER_FIELDS}
    return result


def masked(before: Object | None, after: Object | None) -> tuple[Object | None, Object | None]:
    """The values of Secrets replaced by whether they differ."""

    def hide(obj: Object | None, other: Object | None, note: str) -> Object | None:
        if obj is None or obj.get("kind") != "Secret":
            return obj
        result = dict(obj)
        for field in ("data", "stringData"):
            theirs = (other or {}).get(field) or {}
            if obj.get(field):
                result[field] = {k: "***" if theirs.get(k) in (None, v) else f"*** ({note})" for k, v in obj[field].items()}
        annotations = obj["metadata"].get("annotations") or {}
        if "kubectl.kubernetes.io/last-applied-configuration" in annotations:
            hidden = {**annotations, "kubectl.kubernetes.io/last-applied-configuration": "***"}
            result["metadata"] = {**obj["metadata"], "annotations": hidden}
        return result

    return hide(before, after, "before"), hide(after, before, "after")


def narrowed(before: t.Any, after: t.Any) -> tuple[t.Any, t.Any]:
    """Only what differs, so that a diff of two large objects stays readable."""
    if isinstance(before, dict) and isinstance(after, dict):
        left, right = {}, {}
        for key in {**before, **after}:
            if key not in after:
                left[key] = before[key]
            elif key not in before:
                right[key] = after[key]
            elif before[key] != after[key]:
                left[key], right[key] = narrowed(before[key], after[key])
        return left, right
    return before, after


def shown(obj: Object | None) -> t.Any:
    """An object for a diff, unless it is too large to be read."""
    if obj is None:
        return None
    size = len(json.dumps(obj))
    return obj if size <= SHOWN_BYTES else f"({size >> 10} KiB, not shown)"


# inventory -----------------------------------------------------------------------------------------------------------


def inventory(name: str, namespace: str, refs: t.Iterable[Ref]) -> Object:
    """The ConfigMap that remembers what a set applied, in the order it was applied: one line for each object."""
    lines = "".join(f"{ref.api_version} {ref.kind} {ref.namespace} {ref.name}\n" for ref in refs)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"gpufleet-set-{name}",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "gpufleet.k8s"},
        },
        "data": {"objects": lines},
    }


def remembered(config_map: Object | None) -> list[Ref]:
    """The references in an inventory. Raises PlanError when somebody else wrote it."""
    lines = ((config_map or {}).get("data") or {}).get("objects", "").splitlines()
    try:
        return [Ref(*line.split(" ")) for line in lines]
    except TypeError:
        raise PlanError(
            f"ConfigMap {ref_of(config_map or {})} should list what was applied, one 'apiVersion kind namespace name' a line; "
            "correct or delete it (then nothing is pruned)"
        ) from None
