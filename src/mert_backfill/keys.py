"""How a key of the configuration is declared, and how its value is read."""

from __future__ import annotations

import os
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import with_info_wrap_validator_function

_WORDS = {"true": True, "false": False, "null": None, "none": None, "": None}


def key(default: Any, meaning: str, *, short: str | None = None, **bounds: Any) -> Any:
    """Declare a key of the configuration.

    Parameters
    ----------
    default : object
        What holds when the key is left out, as it would be written.
    meaning : str
        The text of config/README.md, in Markdown.
    short : str, optional
        How it is set after ``--config``, by example: ``NAME=VALUE``.
    **bounds
        Limits of its value, as of `pydantic.Field`.
    """
    extra: dict[str, Any] | None = {"command_line": short} if short else None
    return Field(default, description=meaning, json_schema_extra=extra, **bounds)


def section() -> Any:
    """Declare a section, all of whose keys may be left out."""
    return Field({})


class Section(BaseModel):
    """Keys that belong together. Unknown ones are refused, and no value is bent to fit."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            known = sorted(field.alias or name for name, field in cls.model_fields.items())
            unknown = sorted(set(map(str, values)) - set(known))
            if unknown:
                context = {"unknown": unknown[0], "known": known}
                raise PydanticCustomError("unknown_key", "{unknown} is unknown", context)
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _read_words(cls, value: Any, info: ValidationInfo) -> Any:
        return _in_type(value, set(_plain_types(cls.model_fields[str(info.field_name)].annotation)))


@dataclass(frozen=True)
class Written:
    """How a value is written whose type no YAML file can hold.

    Attributes
    ----------
    form : type
        What is written; its bounds are checked.
    make : callable
        Given what is written and the folder that relative paths start from, returns the value.
    made : type
        The type of the value; such a one is taken as it is.
    """

    form: Any
    make: Callable[[Any, Path], Any]
    made: type

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check the form, then make the value."""

        def read(value: Any, check: Callable[[Any], Any], info: ValidationInfo) -> Any:
            if isinstance(value, self.made):
                return value
            return self.make(check(value), info.context or Path.cwd())

        return with_info_wrap_validator_function(read, handler.generate_schema(self.form))


def _in_type(value: Any, wanted: set[type]) -> Any:
    """Read words and numbers that ``--config`` hands over as text, where no text can be meant."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS and type(_WORDS[word]) in wanted:
            return _WORDS[word]
        if wanted & {int, float} and re.fullmatch(r"-?\d+", word):
            return int(word)
        if float in wanted and re.fullmatch(r"-?\d+\.\d*", word):
            return float(word)
    elif isinstance(value, int | float) and not isinstance(value, bool) and str in wanted:
        return str(value)  # a list of paths may be called 2026
    return value


def _plain_types(annotation: Any) -> Iterator[type]:
    origin = get_origin(annotation)
    if origin is Literal:
        yield from {type(choice) for choice in get_args(annotation)} - {str}
    elif origin is Annotated:
        yield from _plain_types(get_args(annotation)[0])
    elif isinstance(annotation, types.UnionType) or origin is not None:
        for part in get_args(annotation) if origin not in (list, tuple, frozenset) else ():
            yield from _plain_types(part)
    elif annotation is Path:
        yield str
    elif isinstance(annotation, type):
        yield annotation


def absolute(text: str, base: Path) -> Path:
    """Return the absolute path that a configured one means; ``~`` is the home folder."""
    return Path(os.path.abspath(os.path.join(base, os.path.expanduser(text))))


def _filled(text: str) -> str:
    if not text:
        raise PydanticCustomError("empty", "'' is empty")
    return text


def _without_repeats(items: list[str]) -> list[str]:
    if len(set(items)) < len(items):
        raise PydanticCustomError("repeats", "{items} holds a value twice", {"items": str(items)})
    return items


# bounds of pydantic itself would refuse a name that is not UTF-8
Text = Annotated[str, AfterValidator(_filled), WithJsonSchema({"type": "string", "minLength": 1})]
WorkPath = Annotated[Path, Written(Text, absolute, Path)]
ONCE = (AfterValidator(_without_repeats), Field(json_schema_extra={"uniqueItems": True}))
