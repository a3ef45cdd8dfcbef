"""CloudFormation templates, read as plain data: a short-form function ``!Ref X`` becomes ``{"Ref": "X"}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

try:
    from yaml import (
        CSafeLoader as SafeLoader,  # ten times faster; some builds of PyYAML come without it
    )
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment] # the same loader in Python

from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path


class _Loader(SafeLoader):
    """YAML with CloudFormation's short-form functions; refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's own signature
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type] # scalar and sequence are handled above
    return {name: value.split(".", 1) if suffix == "GetAtt" and isinstance(value, str) else value}


_Loader.add_multi_constructor("!", _function)


def load(path: Path) -> dict[str, Any]:
    """Return the template at ``path``; RefusedError when it cannot be read."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RefusedError(
            str(path), f"cannot be read ({error})", "mend the template, then: invoke scan"
        ) from error
    if not isinstance(found, dict):
        raise RefusedError(str(path), "is not a template", "restore the file with git")
    return found
