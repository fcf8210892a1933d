"""Where each file of the results folder lies: said here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

# the charts of the report that are files, too: what they are called, and their titles
CHARTS: Mapping[str, str] = MappingProxyType(
    {
        "gap": "The gap, then and now",
        "progress": "Progress",
        "coverage": "Coverage by folder",
        "formats": "Formats",
        "lengths": "Lengths",
        "time": "Where the time goes",
    }
)
_TRACKS = ".tracks.tsv"
_JOURNAL = ".journal.jsonl"


@dataclass(frozen=True)
class Results:
    """The results folder of one library.

    Attributes
    ----------
    folder : Path
        The folder itself. The paths that the properties return begin with it, so that a relative
        one gives relative paths, as Snakemake's rules want them.
    """

    folder: Path

    # --- gaps: what is pending

    @property
    def gaps(self) -> Path:
        """Folder of the gap and its plan."""
        return self.folder / "gaps"

    @property
    def manifest(self) -> Path:
        """The pending tracks."""
        return self.gaps / "manifest.tsv"

    @property
    def summary(self) -> Path:
        """The counters of the scan."""
        return self.gaps / "summary.json"

    @property
    def pending_paths(self) -> Path:
        """The paths of the pending tracks, one a line."""
        return self.gaps / "pending_embedding_paths.txt"

    @property
    def plan(self) -> Path:
        """The names of the planned chunks."""
        return self.gaps / "plan.json"

    @property
    def chunk_files(self) -> Path:
        """Folder of the chunk files."""
        return self.gaps / "chunks"

    def chunk_file(self, chunk: str) -> Path:
        """Return a chunk's slice of the manifest."""
        return self.chunk_files / f"{chunk}.tsv"

    # --- chunks: what became of the pending tracks

    @property
    def chunks(self) -> Path:
        """Folder of what the chunks leave."""
        return self.folder / "chunks"

    def tracks_table(self, chunk: str) -> Path:
        """Return the table that is written last, when its chunk is finished."""
        return self.chunks / f"{chunk}{_TRACKS}"

    def finished_chunks(self) -> Iterator[str]:
        """Yield the names of the chunks that have their table, in order."""
        for table in sorted(self.chunks.glob(f"*{_TRACKS}")):
            yield table.name.removesuffix(_TRACKS)

    def chunk_failures(self, chunk: str) -> Path:
        """Return a chunk's failure records."""
        return self.chunks / f"{chunk}.failed.jsonl"

    def checkpoint(self, chunk: str) -> Path:
        """Return a chunk's checkpoint file."""
        return self.chunks / f"{chunk}.checkpoint.json"

    def journal(self, chunk: str) -> Path:
        """Return a chunk's journal."""
        return self.chunks / f"{chunk}{_JOURNAL}"

    def journals(self) -> list[Path]:
        """Return the journals of all chunks that ever ran, in order."""
        return sorted(self.chunks.glob(f"*{_JOURNAL}"))

    # --- embeddings: the store

    @property
    def embeddings(self) -> Path:
        """Folder of the stores, one a profile."""
        return self.folder / "embeddings"

    def store(self, profile: str) -> Path:
        """Return the folder of a profile's vectors."""
        return self.embeddings / profile

    def profile_record(self, profile: str) -> Path:
        """Return the file that says what a profile stands for."""
        return self.store(profile) / "profile.json"

    # --- meta: the rebuilt meta.json

    @property
    def meta(self) -> Path:
        """The rebuilt meta.json."""
        return self.folder / "meta" / "meta.json"

    @property
    def meta_source(self) -> Path:
        """What meta.json was rebuilt from."""
        return self.folder / "meta" / "source.json"

    @property
    def meta_base(self) -> Path:
        """The baseline as it was read for the rebuild."""
        return self.folder / "meta" / "baseline.json"

    @property
    def tidied(self) -> Path:
        """What was put in order in meta.json, with the rows before and after."""
        return self.folder / "meta" / "tidied.jsonl"

    @property
    def archived_rows(self) -> Path:
        """Rows that left meta.json."""
        return self.folder / "meta" / "archive.jsonl"

    @property
    def published(self) -> Path:
        """Where meta.json was published to, and its backup."""
        return self.folder / "meta" / "published.json"

    # --- the atlas: what the vectors are for

    @property
    def atlas_library(self) -> Path:
        """Every track with its vector, for other programs."""
        return self.folder / "meta" / "library.parquet"

    @property
    def atlas_neighbors(self) -> Path:
        """The nearest tracks of each track."""
        return self.folder / "meta" / "neighbors.parquet"

    @property
    def atlas_map(self) -> Path:
        """Where each track lies on the map."""
        return self.folder / "meta" / "map.parquet"

    @property
    def near_duplicates(self) -> Path:
        """Tracks that sound the same."""
        return self.folder / "meta" / "near_duplicates.tsv"

    @property
    def search_index(self) -> Path:
        """The index of hnswlib; missing where hnswlib is."""
        return self.folder / "index" / "hnsw.idx"

    @property
    def search_index_paths(self) -> Path:
        """The keys of meta.json that the labels in the index stand for."""
        return self.folder / "index" / "paths.json"

    @property
    def atlas(self) -> tuple[Path, ...]:
        """All files of the atlas, but the index itself: where hnswlib is missing it is left out."""
        return (
            self.atlas_library,
            self.atlas_neighbors,
            self.atlas_map,
            self.near_duplicates,
            self.search_index_paths,
        )

    @property
    def has_atlas(self) -> bool:
        """Whether there is an atlas."""
        return all(path.exists() for path in self.atlas)

    # --- audit

    @property
    def audit(self) -> Path:
        """The audit, for programs."""
        return self.folder / "audit" / "audit.json"

    @property
    def audit_page(self) -> Path:
        """The audit, for people."""
        return self.folder / "audit" / "audit.md"

    @property
    def history(self) -> Path:
        """One entry a run that changed something."""
        return self.folder / "audit" / "history.jsonl"

    @property
    def progress_page(self) -> Path:
        """The history, for people."""
        return self.folder / "audit" / "progress.md"

    @property
    def failures(self) -> Path:
        """Every unresolved failure."""
        return self.folder / "audit" / "failures.tsv"

    @property
    def quarantine(self) -> Path:
        """The files that failed for good, in the form of ``meta.quarantine_file``."""
        return self.folder / "audit" / "quarantine_embed.jsonl"

    @property
    def retry_paths(self) -> Path:
        """The paths of the unresolved failures."""
        return self.folder / "audit" / "retry_paths.txt"

    @property
    def calibration(self) -> Path:
        """Which recipe made the baseline's vectors."""
        return self.folder / "audit" / "calibration.json"

    @property
    def remarks(self) -> Path:
        """What is odd about tracks that have their embedding all the same."""
        return self.folder / "audit" / "remarks.tsv"

    @property
    def folders(self) -> Path:
        """How many tracks of each folder and format have their embedding."""
        return self.folder / "audit" / "folders.tsv"

    def chart(self, name: str) -> Path:
        """Return a chart of the report as a file of its own."""
        return self.folder / "audit" / "charts" / f"{name}.svg"

    @property
    def triage(self) -> Path:
        """What is out of order in meta.json: counters."""
        return self.folder / "audit" / "triage.json"

    @property
    def triage_table(self) -> Path:
        """What is out of order in meta.json: one row a finding."""
        return self.folder / "audit" / "triage.tsv"

    @property
    def report(self) -> Path:
        """The report, the last file that a run writes."""
        return self.folder / "audit" / "report.html"

    # --- what is told of each job

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.folder / "logs"

    @property
    def benchmarks(self) -> Path:
        """Folder of the times and memory that Snakemake measures."""
        return self.folder / "benchmarks"

    def log(self, job: str) -> Path:
        """Return the log file of a job."""
        return self.logs / f"{job}.log"

    def benchmark(self, job: str) -> Path:
        """Return the file in which Snakemake notes how long a job took."""
        return self.benchmarks / f"{job}.tsv"

    # --- of our own, for nobody else

    @property
    def state(self) -> Path:
        """Folder of what the workflow remembers."""
        return self.folder / ".state"

    @property
    def scan_state(self) -> Path:
        """What the last scan was about."""
        return self.state / "scan.json"

    @property
    def owner(self) -> Path:
        """Which library the folder belongs to."""
        return self.state / "library.json"

    @property
    def standing(self) -> Path:
        """What the last audit found, in short."""
        return self.state / "standing.json"

    @property
    def preflight(self) -> Path:
        """What preflight found."""
        return self.state / "preflight.json"

    @property
    def weight_hashes(self) -> Path:
        """The hashes of weight files read before."""
        return self.state / "weights.json"

    @property
    def precision_checks(self) -> Path:
        """What the precision guard measured."""
        return self.state / "precision.json"

    @property
    def kernel_choices(self) -> Path:
        """Which kernels were chosen for the model on which processor."""
        return self.state / "kernels.json"

    @property
    def calibrated(self) -> Path:
        """What the last calibration was about; written when it is done."""
        return self.state / "calibration.json"

    @property
    def calibration_work(self) -> Results:
        """Journals and vectors of the baseline's tracks that calibration embeds again."""
        return Results(self.state / "calibration")

    @property
    def last_publish(self) -> Path:
        """The last publish that wrote something, as long as it can be taken back."""
        return self.state / "last_publish.json"

    @property
    def published_meta(self) -> Path:
        """What that publish wrote."""
        return self.state / "published_meta.json"

    @property
    def journal_index(self) -> Path:
        """Where the journals tell of what; made of them, and made again when it is gone."""
        return self.state / "journals.npz"

    @property
    def remembered(self) -> Path:
        """What was found out once; see `mert_backfill.records.remembered`."""
        return self.state / "remembered.npz"

    @property
    def batches(self) -> Path:
        """What each job of a chunk has done."""
        return self.state / "batches.jsonl"

    @property
    def lists_lock(self) -> Path:
        """Held by who brings the audit's lists up to date while chunks are at work."""
        return self.state / "lists.lock"

    @property
    def run_lock(self) -> Path:
        """Held by the run that is at work."""
        return self.state / "run.lock"

    @property
    def jobs_lock(self) -> Path:
        """Shared by the jobs that are at work."""
        return self.state / "jobs.lock"
