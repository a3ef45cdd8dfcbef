"""Reads CloudFormation templates as plain data.

A call of an intrinsic function may be written in a short form: ``!Ref X`` is ``{"Ref": "X"}``, and
``!Sub X`` is ``{"Fn::Sub": "X"}``. The long form is returned for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

try:  # ten times faster, but some builds of PyYAML have no C loader
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment] # the same loader in Python

from tooling import invocation
from tooling.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path


class _Loader(SafeLoader):
    """YAML with CloudFormation's short forms; refuses a mapping that contains a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's own signature
        """Return the mapping. Raises ConstructorError if a key stands in it twice."""
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _construct_short_form(loader: _Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    """Return the long form of ``!NAME VALUE``; ``name`` is what stands after the "!"."""
    long_name = name if name in ("Ref", "Condition") else f"Fn::{name}"
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if name == "GetAtt":  # "Resource.Attribute" in the short form, a list in the long one
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type] # the third kind of node
    return {long_name: value}


_Loader.add_multi_constructor("!", _construct_short_form)


def load(path: Path) -> dict[str, Any]:
    """Return the template at ``path``. Raises RefusedError if it cannot be read."""
    try:
        template = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        remedy = f"fix the template, then run: {invocation.spell('scan')}"
        raise RefusedError(str(path), f"cannot be read ({error})", remedy) from error
    if not isinstance(template, dict):
        raise RefusedError(str(path), "is not a template", "restore the file with git")
    return template
