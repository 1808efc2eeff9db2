# SPDX-License-Identifier: AGPL-3.0-or-later
"""YAML as plain values: what is given twice is noticed, and what aliases stand for is bounded."""

from __future__ import annotations

from typing import Any

import yaml

MAX_ALIASED = 10_000
"""Values that all aliases of a file together may stand for: far more than any plant repeats."""


class AliasError(yaml.YAMLError):
    """An alias stands for too much: "line 7: why; allowed: …"."""

    def __init__(self, alias: yaml.AliasEvent, why: str, allowed: str) -> None:
        line = alias.start_mark.line + 1 if alias.start_mark else "?"
        super().__init__(f"line {line}: *{alias.anchor} {why}; allowed: {allowed}")


class Loader(yaml.SafeLoader):
    """SafeLoader that notices a key given twice in one mapping, where YAML's own takes the last silently.

    And that refuses aliases which would have to be written out on many more lines than the file has: a few lines of
    aliases of aliases stand for billions of values, and whoever walks through them, such as the check, never ends.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.duplicates: list[str] = []
        self._values = self._aliased = 0
        self._size_of: dict[str | None, int] = {}  # of what an anchor names, once it is whole

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Counts values, those that aliases stand for as often as they stand there. Raises AliasError."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # of the stubs
        before = self._values
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            self._count_alias(event)
        else:
            self._values += 1
            if event.anchor is not None:
                self._size_of[event.anchor] = self._values - before
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Remembers keys that are given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    self.duplicates.append(
                        f"line {key.start_mark.line + 1}: {key.value} is given twice; allowed: once"
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def _count_alias(self, alias: yaml.AliasEvent) -> None:
        size = self._size_of.get(alias.anchor)
        if size is None:
            raise AliasError(alias, "stands within what it stands for", "aliases of what ends before them")
        self._values += size
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            why = f"and the aliases before it stand for more than {MAX_ALIASED} values"
            raise AliasError(alias, why, "fewer aliases, or aliases of less")
