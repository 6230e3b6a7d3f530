"""YAML as a person would write it: keys in their order, texts of several lines as blocks, nothing by reference."""

from typing import Any

import yaml


class _Dumper(yaml.CSafeDumper):
    pass


def _text(dumper: Any, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def yaml_text(*documents: object) -> str:
    """One or several documents."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=1000)
