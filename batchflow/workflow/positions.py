"""Where every key and value of a TOML text stands, found with tree-sitter.  Imported on the error path only.

Newer TOML syntax shows up as ERROR nodes; their children are read as if the node were not there, and a key that is
lost leads to the nearest one that holds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import tree_sitter
import tree_sitter_toml

if TYPE_CHECKING:
    from batchflow.workflow.document import Loc

Span: TypeAlias = "tuple[int, int]"
Spans: TypeAlias = "dict[Loc, tuple[Span, Span]]"
"""For each location the half-open character ranges of its key and of its value."""


def find_spans(text: str) -> Spans:
    """The spans of all keys, table headers and array elements; the first one wins where a table is named twice."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
    data = text.encode("utf-8", "surrogatepass")
    return _Walk(data, len(data) == len(text)).document(parser.parse(data).root_node)


class _Walk:
    def __init__(self, data: bytes, ascii_only: bool) -> None:
        self._data = data
        self._ascii_only = ascii_only
        self._spans: Spans = {}
        self._array_lengths: dict[Loc, int] = {}

    def document(self, root: tree_sitter.Node) -> Spans:
        self._table(root, ())
        return self._spans if self._ascii_only else self._in_characters()

    def _table(self, node: tree_sitter.Node, prefix: Loc) -> None:
        """The pairs below a node; ``table`` nodes stand below the document and start from the root again."""
        for child in node.children:
            if child.type == "pair":
                self._pair(child, prefix)
            elif child.type in ("table", "table_array_element"):
                self._header(child)
            elif child.type == "ERROR":
                self._table(child, prefix)

    def _pair(self, node: tree_sitter.Node, prefix: Loc) -> None:
        value = next((one for one in reversed(node.children) if _is_value(one)), node)
        loc = self._key(node.children[0], prefix, (value.start_byte, value.end_byte))
        self._value(value, loc)

    def _value(self, node: tree_sitter.Node, loc: Loc) -> None:
        if node.type == "inline_table":
            self._table(node, loc)
        elif node.type == "array":
            named = [one for one in node.children if _is_value(one)]
            for index, one in enumerate(named):
                span = (one.start_byte, one.end_byte)
                element: Loc = (*loc, index)
                self._spans[element] = (span, span)
                self._value(one, element)

    def _header(self, node: tree_sitter.Node) -> None:
        key = next((one for one in node.children if one.type.endswith("_key")), None)
        if key is None:
            return
        header = (
            node.start_byte,
            next((one.end_byte for one in node.children if one.type in ("]", "]]")), key.end_byte),
        )
        loc = self._key(key, (), header)
        if node.type == "table_array_element":
            index = self._array_lengths.get(loc, 0)
            self._array_lengths[loc] = index + 1
            loc = (*loc, index)
            self._spans.setdefault(loc, (header, header))
        self._table(node, loc)

    def _key(self, node: tree_sitter.Node, prefix: Loc, value: Span) -> Loc:
        """Note every part of a key; the last part has the value, those before it only themselves."""
        loc, parts = prefix, list(_key_parts(node))
        for index, part in enumerate(parts):
            if self._array_lengths.get(loc):
                loc = (*loc, self._array_lengths[loc] - 1)
            loc = (*loc, self._key_text(part))
            span = (part.start_byte, part.end_byte)
            self._spans.setdefault(loc, (span, value if index == len(parts) - 1 else span))
        return loc

    def _key_text(self, node: tree_sitter.Node) -> str:
        text = self._data[node.start_byte : node.end_byte].decode("utf-8", "replace")
        if node.type == "quoted_key":
            import tomli

            try:
                return next(iter(tomli.loads(f"{text} = 0")))
            except tomli.TOMLDecodeError:
                return text[1:-1]
        return text

    def _in_characters(self) -> Spans:
        """Byte offsets to character offsets, in one pass over all of them in order."""
        offsets = sorted({offset for pair in self._spans.values() for span in pair for offset in span})
        characters, before, count = {}, 0, 0
        for offset in offsets:
            count += len(self._data[before:offset].decode("utf-8", "replace"))
            characters[offset], before = count, offset
        return {
            loc: ((characters[key[0]], characters[key[1]]), (characters[value[0]], characters[value[1]]))
            for loc, (key, value) in self._spans.items()
        }


def _is_value(node: tree_sitter.Node) -> bool:
    """Whether a child of a pair or an array can be its value; the comment behind a value is a child as well."""
    return node.is_named and node.type not in ("comment", "ERROR")


def _key_parts(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    """The parts of a dotted key, first to last; at most as many as the limits allow."""
    if node.type != "dotted_key":
        return [node]
    return [part for child in node.children if child.is_named for part in _key_parts(child)]
