"""A first config file, with comments, of what `first_look` found."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

from mert_backfill.errors import UserError, visible
from mert_backfill_snakemake.first_look import MetaLook, Music

# what needs no quotes in YAML, and is text in all of its versions; others get them
_PLAIN = re.compile(r"/?[A-Za-z_][\w./-]*")
_WORDS = {"true", "false", "null", "none", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True)
class Model:
    """The model that was chosen; a hub id has a revision, where it is known."""

    name: str
    is_folder: bool = False
    revision: str | None = None


def config_text(music: Music, meta: MetaLook | None, model: Model) -> str:
    """Return the text of a config file.

    Raises
    ------
    UserError
        A path cannot be written into a text file.
    """
    lines = [
        "# Made by `mert-backfill init`. Every key: config/README.md. Look first: mert-backfill "
        "preview",
        "library:",
        "  roots:  # keep a name when its folder moves to another disk: the vectors stay with it",
        *(f"    - {{name: {_quoted(r.name)}, path: {_quoted(str(r.path))}}}" for r in music.roots),
        "  exclude_file: null  # a text file: paths or globs, one a line, that are left out",
        *_meta_lines(meta),
        *_model_lines(model),
        "runtime:",
        "  device: auto  # auto | cpu | cuda | mps",
        "  precision: float32  # bfloat16: about twice as fast on processors that have it",
    ]
    return "\n".join(lines) + "\n"


def _meta_lines(meta: MetaLook | None) -> list[str]:
    if meta is None:
        return [
            "meta:",
            "  baseline: null  # the meta.json of your DJ program, if you have one",
        ]
    lines = [
        "meta:",
        f"  baseline: {_quoted(str(meta.path))}  # read; only publish writes it, after a backup",
    ]
    if meta.embedding_base is not None:
        lines.append(
            f"  embedding_base: {_quoted(str(meta.embedding_base))}  # where `embedding` starts"
        )
    if meta.path_map:
        lines.append("  path_map:  # what meta.json calls a folder, and what it is here")
        lines += [f"    - {{from: {_quoted(a)}, to: {_quoted(b)}}}" for a, b in meta.path_map]
    else:
        lines.append("  path_map: []  # needed when meta.json was made on another system")
    if meta.is_windows:
        folder = _quoted(str(meta.path.parent / "embeddings-mert"))
        lines += [
            "  # publish copies the new vectors to where the program on Windows can open them",
            f"  publish_embeddings_to: {folder}",
        ]
    return [*lines, "  stale_policy: keep  # rows whose file is gone: keep | archive | prune"]


def _model_lines(model: Model) -> list[str]:
    lines = [
        "model:  # the weights of MERT are licensed CC-BY-NC-4.0: no commercial use",
        f"  name: {_quoted(model.name)}",
    ]
    if model.is_folder:
        return lines
    if model.revision is None:
        return [
            *lines,
            "  # the newest commit on the model's page (Files, History): 40 digits and letters",
            "  revision: null",
        ]
    return [*lines, f"  revision: {_quoted(model.revision)}  # the commit: the weights stay these"]


def _quoted(text: str) -> str:
    """Return a text as YAML on one line.

    Raises
    ------
    UserError
        It holds bytes that are no letters.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{visible(text)}: no config file can hold a name that is not UTF-8; rename it"
        ) from error
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    # a width that no path has: the writer would fold it
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=2**31).strip()
