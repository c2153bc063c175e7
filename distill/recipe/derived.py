"""Sections whose fields come from a dataclass of `overlap`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_type_hints

from docstring_parser import parse
from pydantic import Field, create_model

from overlap.gates.reader import Reader

from .section import Section

S = TypeVar("S", bound=Section)


def derived(
    reader: type[Reader],
    base: type[S],
    name: str,
    written: Mapping[str, tuple[Any, str]],
    keys: Mapping[str, str] | None = None,
) -> type[S]:
    """Return a section with names, types, defaults, bounds and descriptions of a dataclass's settings.

    Args:
        reader: The dataclass.
        base: Section with checks of its own, in the words of a file.
        name: Of the section.
        written: Annotation and description of settings that a file writes otherwise than Python.
        keys: The file's key of settings that it names otherwise.
    """
    about = parse(reader.__doc__ or "")
    meanings = {each.arg_name: each.description or "" for each in about.params}
    types = get_type_hints(reader)
    settings: dict[str, Any] = {"type": (Literal[reader.kind], ...)}
    for item in dataclasses.fields(reader):  # pyright: ignore[reportArgumentType]  # all that have a section are dataclasses
        if item.init:
            annotation, meaning = written.get(item.name, (types[item.name], _sentence(meanings[item.name])))
            default: dict[str, Any] = {} if item.default is dataclasses.MISSING else {"default": item.default}
            if item.default_factory is not dataclasses.MISSING:
                default = {"default_factory": item.default_factory}
            default |= {bound: item.metadata.get(bound) for bound in ("ge", "le")}
            key = (keys or {}).get(item.name, item.name)
            settings[key] = annotation, Field(**default, description=meaning)
    doc = _sentence(about.short_description or "")
    return create_model(name, __base__=base, __module__=base.__module__, __doc__=doc, **settings)


def _sentence(text: str) -> str:
    """Return a description as Markdown has it, from its first letter on."""
    text = text.replace("``", "`")
    return text[:1].upper() + text[1:]
