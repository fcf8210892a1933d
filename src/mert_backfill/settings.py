"""The configuration: each key is said here, once, with its type, bounds, default and meaning.

`make config-docs` writes the JSON schema and the tables of config/README.md from these classes.
A new key is one line in its section.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from mert_backfill.keys import ONCE, Section, Text, WorkPath, Written, absolute, key, section
from mert_backfill.library.paths import PathMap
from mert_backfill.library.roots import Root
from mert_backfill.model.source import ModelSource
from mert_backfill.results import Results


class RootEntry(Section):
    """A music folder."""

    name: Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f]+$")]
    path: Text


class PrefixPair(Section):
    """A prefix as meta.json writes it, and what it is on this machine."""

    from_: Annotated[Text, Field(alias="from")]
    to: Text


class ModelEntry(Section):
    """The MERT model."""

    name: Text = key(
        "demo/mert",
        "A folder with the model's files, or a hub id such as `m-a-p/MERT-v1-330M`. The weights of "
        "MERT are licensed CC-BY-NC-4.0: no commercial use. The default is the demo model: its "
        "vectors mean nothing musically, so that music of your own is refused until you name a "
        "model.",
    )
    revision: str | None = key(
        None,
        "The commit (40 hex digits) of the hub repository. Required for a hub id, so that the "
        "weights cannot change under your library.",
        pattern="^[0-9a-f]{40}$",
    )


def _roots(entries: list[RootEntry], base: Path) -> tuple[Root, ...]:
    return tuple(Root(entry.name, absolute(entry.path, base)) for entry in entries)


def _path_map(pairs: list[PrefixPair], base: Path) -> PathMap:
    return PathMap([(pair.from_, str(absolute(pair.to, base))) for pair in pairs])


def _model(entry: ModelEntry, base: Path) -> ModelSource:
    folder = absolute(entry.name, base)
    return ModelSource(entry.name, folder if folder.is_dir() else None, entry.revision)


Ending = Annotated[str, Field(pattern=r"^\.[A-Za-z0-9]+$")]
Sidecar = Literal["sections", "layers", "harmonic"]
Roots = Annotated[
    tuple[Root, ...],
    Written(Annotated[list[RootEntry], Field(min_length=1)], _roots, tuple),
]
Endings = Annotated[
    frozenset[str],
    Written(
        Annotated[list[Ending], Field(min_length=1), *ONCE],
        lambda endings, _: frozenset(ending.lower() for ending in endings),
        frozenset,
    ),
]
Sidecars = Annotated[
    tuple[Sidecar, ...],
    Written(Annotated[list[Sidecar], *ONCE], lambda kinds, _: tuple(sorted(kinds)), tuple),
]
Prefixes = Annotated[PathMap, Written(list[PrefixPair], _path_map, PathMap)]


class Library(Section):
    """Which files make up the library."""

    roots: Roots = key(
        [{"name": "demo", "path": "demo/music"}],
        "A list of `{name: ..., path: ...}`: your music folders. The name, not the folder, enters "
        "a track's identity, so a library that moves to another disk keeps its embeddings as long "
        "as you keep the name. Names are unique and hold no slash. No root may lie inside another "
        "one.",
    )
    extensions: Endings = key(
        [".wav", ".flac", ".mp3", ".m4a", ".aiff", ".aif", ".ogg", ".opus"],
        "A list of endings, with their dot, of the files that count as audio, in any case.",
    )
    exclude_file: WorkPath | None = key(
        None,
        "A list (a text file, see below) of paths, folders or globs that are never embedded.",
    )
    paths_file: WorkPath | None = key(
        None,
        "A list of paths or folders: only these are embedded. Quarantined tracks that it names are "
        "tried again.",
        short="paths_file=LIST",
    )


class Meta(Section):
    """The meta.json that a DJ program keeps."""

    baseline: WorkPath | None = key(
        None,
        'An existing `meta.json`: `{"tracks": {PATH: {...}}}`. It is read, never written, except '
        "by `snakemake publish` and `unpublish`. Without one every file counts as new.",
    )
    embedding_base: WorkPath | None = key(
        None,
        "The folder that relative `embedding` references in it start from. With `null` it is the "
        "parent of the folder that holds `meta.json` (for `.../data/meta.json` that is `...`).",
    )
    path_map: Prefixes = key(
        [],
        "A list of `{from: ..., to: ...}`: a prefix as `meta.json` writes it, and what it is on "
        "this machine. Needed when `meta.json` was made on another system.",
    )
    stale_policy: Literal["keep", "archive", "prune"] = key(
        "keep",
        "What becomes of rows whose file is gone: `keep`, `archive` or `prune`. A file is gone "
        "only where somebody could look: rows on drives that no `path_map` line names, below a "
        "disk that is not mounted, or without a folder always stay. `archive` keeps them in "
        "`results/meta/archive.jsonl`, `prune` only those that hold more than artist, title and "
        "embedding.",
    )
    quarantine_file: WorkPath | None = key(
        None,
        "A list of files that failed elsewhere, as rbassist keeps it (JSON lines with `path` and "
        "`size_bytes`): they are skipped, and counted as quarantined, until their size changes, or "
        "`retry_failed` or `paths_file` asks for them.",
    )
    publish_embeddings_to: WorkPath | None = key(
        None,
        "A folder to which `snakemake publish` copies the vectors made here, for a program that "
        "cannot see `results/`; the published rows name the copies.",
    )
    reembed: Literal["none", "invalid", "all"] = key(
        "invalid",
        "Which rows are embedded here although they name a vector. `invalid`: those whose vector "
        "cannot be used (cut short, of another size, not finite, all zero, pickled); each is read "
        "once, and again when its size or time changes. `none`: no row whose vector exists. `all`: "
        "every row whose vector was not made here by the current recipe and model, so that the "
        "library ends in one recipe; the old files stay, the rows name the new ones.",
    )


class Chunking(Section):
    """How the pending tracks are split into jobs."""

    size: int = key(500, "Tracks in a chunk. A chunk is one job: it loads the model once.", ge=1)
    limit: int | None = key(
        None,
        "Plan only the first so many pending tracks. The counters still count all. The same limit "
        "again, after a run to its end, plans the next ones.",
        short="limit=10",
        ge=1,
    )


class Checkpointing(Section):
    """How often a running chunk reports."""

    every: int = key(
        50,
        "Tracks between two writes of `results/chunks/CHUNK.checkpoint.json`. It is a report: "
        "every vector is on disk as soon as it is made, whatever the value.",
        short="checkpoint_every=10",
        ge=1,
    )


class Embedding(Section):
    """What is computed of each track."""

    profile: Literal["canonical", "padded", "whole"] = key(
        "canonical",
        "The recipe, as rbassist had it: `canonical` (8 December 2025 to 9 February 2026), "
        "`padded` (since 10 February 2026) or `whole` (before 8 December 2025). Vectors of two "
        "recipes do not compare: take the one that your library's vectors were made by. Each has "
        "a store of its own.",
    )
    duration_s: Literal[120] = key(
        120,
        "Seconds from the start of a track that are used. The recipes accept no other value.",
    )
    sidecars: Sidecars = key(
        [],
        "A list of what else is kept of each track, from the same pass: `sections`, `layers`, "
        "`harmonic` or several. Turned on later, only what is missing is made; vectors stay as "
        "they are.",
    )
    sidecars_for: Literal["new", "all"] = key(
        "new",
        "`new` makes them for tracks that are embedded here, `all` also for those whose vector is "
        "that of `meta.baseline`, which stays as it is. What a row names or holds already is not "
        "made.",
    )


class Calibration(Section):
    """Whether the vectors that meta.json names and new ones compare; see docs/calibration.md."""

    tracks: int = key(
        8,
        "How many tracks of the baseline are embedded again before the first chunk, to find out "
        "which recipe made their vectors. It costs as much as one to three times as many tracks, "
        "once for a baseline, model and profile. 0 switches it off.",
        ge=0,
    )
    accept: bool = key(
        False,
        "Go on although the vectors that meta.json names and new ones do not compare. The audit "
        "keeps saying so.",
        short="accept_calibration=true",
    )


class Runtime(Section):
    """Speed only; no value here makes a finished chunk run again."""

    device: Literal["auto", "cpu", "cuda", "mps"] = key(
        "auto",
        "`auto`, `cpu`, `cuda` or `mps`. `auto` takes a GPU where there is one that "
        "torch can use; where torch cannot use it, a line says so before the first chunk.",
    )
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = key(
        "float32",
        "`float32`, `bfloat16`, and on GPUs `tf32` (NVIDIA's) or `float16`: the model's "
        "arithmetic. It is recorded with each track. Vectors are stored as float16 in every case. "
        "Before a lower precision is used for the first time on a processor, windows of 24 tracks "
        "are embedded in both; it is refused if a vector moves by more than 0.15 of its distance "
        "from their mean (bfloat16: 0.05 to 0.11), if fewer than 88 % of the 10 nearest neighbours "
        "stay, or below a cosine of 0.999. The result, with the reason, is in the log and in "
        "`results/.state/precision.json`.",
    )
    batch_size: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = key(
        "auto",
        "Windows of exactly equal length that go through a GPU together, 1 to 4096. On a CPU they "
        "always go one by one: it is as fast, and results then never depend on it.",
    )
    decode_workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = key(
        "auto",
        "Processes that decode audio, for each chunk, 1 to 256; `auto` is two on a CPU, whose "
        "model is slower than one of them, and as many as the chunk has threads on a GPU.",
    )
    track_timeout_s: float = key(
        120, "Seconds after which the decoding of a track is given up.", gt=0
    )


Proposal = Literal["relink", "merge", "archive"]
Proposals = Annotated[
    tuple[Proposal, ...],
    Written(Annotated[list[Proposal], *ONCE], lambda words, _: tuple(words), tuple),
    # as it comes from --config
    BeforeValidator(lambda it: it.replace(",", " ").split() if isinstance(it, str) else it),
]


class Settings(Section):
    """The whole configuration; every path is absolute."""

    library: Library = section()
    meta: Meta = section()
    chunking: Chunking = section()
    checkpointing: Checkpointing = section()
    model: Annotated[ModelSource, Written(ModelEntry, _model, ModelSource)] = section()
    embedding: Embedding = section()
    calibration: Calibration = section()
    runtime: Runtime = section()
    apply: Proposals = key(
        [],
        "What `snakemake tidy` carries out of what `triage` proposes: `relink`, `merge`, `archive` "
        "or several of them.",
        short="apply=relink,merge,archive",
    )
    retry_failed: bool = key(False, "Try the quarantined tracks again.", short="retry_failed=true")
    accept_shrunken_library: bool = key(
        False,
        "Go on although a root is empty, or over half of the files that the last scan found in it "
        "are gone, or nearly none of the vectors that meta.json names is there. Without it, such a "
        "root, or the disk of the vectors, counts as not mounted, and the run is refused. Nor, "
        "without it, do `meta.stale_policy` and `tidy` take over half of the rows out of "
        "meta.json, or any while a disk is not mounted that was below a root at the last scan.",
        short="accept_shrunken_library=true",
    )
    accept_other_library: bool = key(
        False,
        "Go on in a results folder that belongs to another library than this one. Without it, such "
        "a run is refused: it would overwrite the other one's audit and meta.json.",
        short="accept_other_library=true",
    )
    _results: Results = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Take the working directory from the context of the validation."""
        self._results = Results((context or Path.cwd()) / "results")

    @property
    def results(self) -> Results:
        """The results folder, below the working directory."""
        return self._results

    @property
    def demo(self) -> Path:
        """Where the demo is made, below the working directory."""
        return self._results.folder.parent / "demo"

    @property
    def own_roots(self) -> tuple[Root, ...]:
        """The music folders that are not of the demo."""
        roots = self.library.roots
        return tuple(root for root in roots if not root.path.is_relative_to(self.demo))

    @property
    def is_demo(self) -> bool:
        """Whether the library is the demo."""
        return not self.own_roots
