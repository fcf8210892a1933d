"""``mert-backfill init``: looks at what there is, and writes the config file for it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mert_backfill.errors import UserError, visible
from mert_backfill.library.listing import list_library
from mert_backfill.library.roots import Root
from mert_backfill.settings import Settings
from mert_backfill.system.atomic import write_text
from mert_backfill.words import counted
from mert_backfill_snakemake.cli.app import BEGINNING, app
from mert_backfill_snakemake.cli.front import CONFIG_FILE
from mert_backfill_snakemake.first_config import Model, config_text
from mert_backfill_snakemake.first_look import MetaLook, Music, look_at_meta

# the hidden size of each of the released models
_RELEASED = {1024: "m-a-p/MERT-v1-330M", 768: "m-a-p/MERT-v1-95M"}
_HUB_MODEL = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([0-9a-f]{40}))?")


@app.command(
    epilog="Example: mert-backfill init ~/Music --meta ~/rbassist/data/meta.json",
    rich_help_panel=BEGINNING,
)
def init(
    music: Annotated[list[Path], typer.Argument(help="Your music folder, or several.")],
    meta: Annotated[Path | None, typer.Option(help="The meta.json of your DJ program.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A folder with the model, or a hub id (ID@COMMIT).")
    ] = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = CONFIG_FILE,
) -> None:
    """Look at your music and meta.json, and write a config file for them."""
    if output.exists():
        raise UserError(f"{output}: it exists, and is not overwritten; give another one (--output)")
    roots = _roots(music)
    found = Music(roots, list_library(roots, Settings.model_validate({}).library.extensions))
    _tell_music(found)
    look = look_at_meta(_absolute(meta), found) if meta is not None else None
    if look is not None:
        _tell_meta(look)
    chosen = _choose_model(model, [*look.sizes] if look is not None else [])
    text = config_text(found, look, chosen)
    try:
        write_text(output, text)
    except OSError as error:
        raise UserError(
            f"{output}: cannot be written ({error.strerror}); give another place (--output)"
        ) from error
    option = "" if output == CONFIG_FILE else f" --configfile {shlex.quote(str(output))}"
    print(visible(f"written: {output}; look into it, then type: mert-backfill preview{option}"))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))


def _roots(folders: Sequence[Path]) -> tuple[Root, ...]:
    """Return the music folders with names, which are told apart by a number if need be."""
    roots: dict[str, Root] = {}
    for folder in map(_absolute, folders):
        plain = visible(folder.name).replace("\\", "_")
        name = "main" if len(folders) == 1 else plain or "root"
        while name in roots:
            name = f"{name}-{len(roots) + 1}"
        roots[name] = Root(name, folder)
    return tuple(roots.values())


def _tell_music(music: Music) -> None:
    folders = ", ".join(str(root.path) for root in music.roots)
    if not music.files:
        raise UserError(f"{folders}: no audio file is in there; give the folder of your music")
    formats = ", ".join(f"{count:,} {ending[1:]}" for ending, count in music.formats.most_common())
    print(visible(f"music: {counted(music.files, 'file')} in {folders} ({formats})"))


def _tell_meta(meta: MetaLook) -> None:
    belong = f"of which {meta.rows_matched:,} belong to a file"
    print(f"meta.json: {counted(meta.rows, 'row')}, {belong}" + (":" if meta.path_map else ""))
    for theirs, ours in meta.path_map:
        print(visible(f"  {theirs} is {ours} here (meta.path_map)"))
    if meta.rows and not meta.rows_matched:
        print(
            "  what it calls your music folder was not found out: write it into meta.path_map of "
            "the config file, see config/README.md"
        )
    if meta.vectors_named:
        sizes = ", ".join(f"{size:,}" for size in sorted(meta.sizes)) or "an unknown count of"
        print(
            f"vectors: {counted(meta.vectors_named, 'row names', 'rows name')} one, "
            f"there: {meta.vectors_found:,}, of {sizes} numbers each"
        )


def _choose_model(given: str | None, sizes: Sequence[int]) -> Model:
    """Return the model that is asked for, else the one that made vectors of that size."""
    from mert_backfill.model.source import newest_revision

    size = sizes[0] if len(sizes) == 1 else None
    if given is not None and (folder := _absolute(Path(given))).is_dir():
        _check_size(folder, size)
        return Model(str(folder), is_folder=True)
    made_by = _RELEASED.get(size or 0)
    match = _HUB_MODEL.fullmatch(given or made_by or _RELEASED[1024])
    if match is None:
        raise UserError(f"--model {given}: there is no such folder, and it is no hub id")
    name, revision = match.groups()
    revision = revision or newest_revision(name)
    why = "" if given or made_by is None else f", which makes vectors of {size:,} numbers"
    print(f"model: {name}{why}" + (f", commit {revision}" if revision else ""))
    if revision is None:
        print(
            "  its newest commit could not be looked up: write it into model.revision of the "
            "config file, or give --model a folder with the model's files"
        )
    if made_by not in {None, name}:
        print(f"  note: vectors of {size:,} numbers are made by {made_by}, and two do not compare")
    return Model(name, revision=revision)


def _check_size(folder: Path, size: int | None) -> None:
    from mert_backfill.model.info import inspect_model
    from mert_backfill.model.source import ModelSource

    makes = inspect_model(ModelSource(str(folder), folder, None)).hidden_size
    print(visible(f"model: {folder}, which makes vectors of {makes:,} numbers"))
    if size not in {None, makes}:
        print(f"  note: the vectors of meta.json have {size:,}: is it another model?")
