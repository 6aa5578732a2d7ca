# Copyright: the gpufleet.k8s authors
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Reads the YAML that kubelet configuration files are written in; a node has no YAML library for Python.

PRIVATE: this module util is for this collection only and may change without notice.

The part of YAML that kubeadm, k3s and people use there: one document of block or one-line flow mappings and sequences, plain
and quoted scalars, comments; and JSON. Whatever else (anchors, tags, block scalars, a scalar over several lines) is refused
rather than misread.
"""

from __future__ import annotations

import json
import re
import typing as t

_KEY = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s\[\]{},&*!|>%@`"'#-][^\[\]{},"']*?|-[^\s\[\]{},"'][^\[\]{},"']*?)\s*:(?:\s+|$)"""
)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
#: Scalars that YAML 1.1, YAML 1.2 and their libraries read as different values.
_AMBIGUOUS = re.compile(
    r"[yn]|<<|[-+]?(0[0-9_]+|0[xob][0-9a-f_]+|[0-9][0-9_]*_[0-9_]*|\.(inf|nan)|([0-9]+\.?|[0-9]*\.[0-9]+)e[-+]?[0-9]+)",
    re.IGNORECASE,
)
_WORDS: dict[str, t.Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
for _true, _false in (("true", "false"), ("yes", "no"), ("on", "off")):
    for _form in (str.lower, str.capitalize, str.upper):
        _WORDS[_form(_true)], _WORDS[_form(_false)] = True, False

_Line = t.Tuple[int, str, int]  # noqa: UP006  (indentation, text, number), evaluated at run time


def load(text: str) -> t.Any:
    """The document's value; None for an empty one. Raises ValueError with the line at fault."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            pass  # a flow mapping of YAML, perhaps
    lines = _lines(text)
    if not lines:
        return None
    reader = _Reader(lines)
    value = reader.block(lines[0][0])
    if reader.at < len(lines):
        raise reader.error("is indented differently from what precedes it, or continues a value, which is not read here")
    return value


def dump(value: t.Mapping[str, t.Any], indent: int = 0) -> str:
    """Block YAML, keys in the order given. Strings are quoted as in JSON, so that nothing is taken for something else."""
    text = ""
    for key, its in value.items():
        text += (
            " " * indent + (key if re.fullmatch(r"[A-Za-z][\w.-]+", key) and key.lower() not in _WORDS else json.dumps(key)) + ":"
        )
        text += "\n" + dump(its, indent + 2) if isinstance(its, dict) and its else f" {json.dumps(its)}\n"
    return text


def _lines(text: str) -> list[_Line]:
    found: list[_Line] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = _without_comment(raw).rstrip()
        if not line.strip() or (line == "---" and not found):
            continue
        body = line.lstrip(" ")
        if body.startswith("\t"):
            raise ValueError(f"line {number}: a tab in the indentation")
        if line in ("---", "...") or line.startswith(("--- ", "%")):
            raise ValueError(f"line {number}: more than one document, or a directive")
        found.append((len(line) - len(body), body, number))
    return found


def _without_comment(line: str) -> str:
    quote = ""
    for index, letter in enumerate(line):
        if quote:
            # In a double-quoted scalar the letter after a backslash is no end; '' in a single-quoted one reopens at once.
            if letter == quote and not (quote == '"' and _escaped(line, index)):
                quote = ""
        elif letter in "\"'" and (index == 0 or line[index - 1] in " \t[{,:"):
            quote = letter
        elif letter == "#" and (index == 0 or line[index - 1] in " \t"):
            return line[:index]
    return line


def _escaped(line: str, index: int) -> bool:
    return (index - len(line[:index].rstrip("\\"))) % 2 == 1


class _Reader:
    def __init__(self, lines: list[_Line]) -> None:
        self.lines = lines
        self.at = 0

    def error(self, why: str) -> ValueError:
        _indent, text, number = self.lines[min(self.at, len(self.lines) - 1)]
        return ValueError(f"line {number} ({text[:60]}) {why}")

    def block(self, indent: int) -> t.Any:
        """The value that starts at the current line, which is indented by `indent`."""
        text = self.lines[self.at][1]
        if text == "-" or text.startswith("- "):
            return self._sequence(indent)
        if _KEY.match(text):
            return self._mapping(indent)
        value = self._scalar(text)
        self.at += 1
        return value

    def _sequence(self, indent: int) -> list[t.Any]:
        items = []
        while self.at < len(self.lines):
            its, text, number = self.lines[self.at]
            if its != indent or not (text == "-" or text.startswith("- ")):
                break
            rest = text[1:].lstrip(" ")
            if rest:
                # What follows the dash is a block of its own, indented to where it starts.
                inner = indent + len(text) - len(rest)
                self.lines[self.at] = (inner, rest, number)
                items.append(self.block(inner))
            else:
                self.at += 1
                items.append(self._nested(indent, at_same=False))
        return items

    def _mapping(self, indent: int) -> dict[str, t.Any]:
        found: dict[str, t.Any] = {}
        while self.at < len(self.lines) and self.lines[self.at][0] == indent:
            text = self.lines[self.at][1]
            match = _KEY.match(text)
            if not match:
                break
            key = self._scalar(match.group(1))
            key = match.group(1) if not isinstance(key, str) else key
            if key in found:
                raise self.error("repeats a key")
            rest = text[match.end() :]
            if rest:
                found[key] = self._scalar(rest)
                self.at += 1
            else:
                self.at += 1
                found[key] = self._nested(indent, at_same=True)
        return found

    def _nested(self, indent: int, at_same: bool) -> t.Any:
        if self.at >= len(self.lines):
            return None
        its, text, _number = self.lines[self.at]
        if its > indent or (at_same and its == indent and (text == "-" or text.startswith("- "))):
            return self.block(its)
        return None

    def _scalar(self, text: str) -> t.Any:
        value, rest = self._flow(text, inside=False)
        if rest.strip():
            raise self.error(f"has {rest.strip()!r} after a value")
        return value

    def _flow(self, text: str, inside: bool) -> tuple[t.Any, str]:
        """A value at the start of `text`, and what is behind it. `inside`: within brackets or braces."""
        text = text.lstrip()
        if text[:1] in ("[", "{"):
            return self._collection(text)
        if text[:1] == '"':
            match = re.match(r'"(?:[^"\\]|\\.)*"', text)
            if not match:
                raise self.error("has a quote that does not end on this line")
            try:
                return json.loads(match.group()), text[match.end() :]
            except ValueError:
                raise self.error("has an escape that JSON does not know") from None
        if text[:1] == "'":
            match = re.match(r"'((?:[^']|'')*)'", text)
            if not match:
                raise self.error("has a quote that does not end on this line")
            return match.group(1).replace("''", "'"), text[match.end() :]
        if text[:1] and text[0] in "&*!|>%@`":
            raise self.error(f"uses YAML's {text[0]!r}, which is not read here")
        match = re.match(r"[^,\[\]{}]*?(?=,|\]|\}|:(?:\s|$)|$)" if inside else r".*", text)
        plain = (match.group() if match else "").strip()
        if not inside and re.search(r":(\s|$)", plain):
            raise self.error("has a second ':'; quote the value")
        return self._plain(plain), text[match.end() if match else 0 :]

    def _collection(self, text: str) -> tuple[t.Any, str]:
        end = "]" if text[0] == "[" else "}"
        items: list[t.Any] = []
        pairs: dict[str, t.Any] = {}
        text = text[1:].lstrip()
        while not text.startswith(end):
            if not text:
                raise self.error(f"has no {end!r} on the same line")
            key, text = self._flow(text, inside=True)
            text = text.lstrip()
            if end == "}":
                if not text.startswith(":"):
                    raise self.error("has a key without a value")
                value, text = self._flow(text[1:], inside=True)
                pairs[key if isinstance(key, str) else json.dumps(key)] = value
                text = text.lstrip()
            else:
                items.append(key)
            if text.startswith(","):
                text = text[1:].lstrip()
            elif not text.startswith(end):
                raise self.error(f"has no {end!r} on the same line")
        return (items if end == "]" else pairs), text[1:]

    def _plain(self, text: str) -> t.Any:
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _AMBIGUOUS.fullmatch(text):
            raise self.error(f"has {text!r}, which YAML's versions read differently; quote it")
        return text
