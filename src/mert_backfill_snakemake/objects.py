"""What is used of Snakemake's own objects, as types.

``workflow`` is what a Snakefile sees, ``snakemake`` what a script does. Neither class is typed, and
much of the first is Snakemake's own affair: what is named here has to be there in each version
from `OLDEST_SNAKEMAKE` on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

OLDEST_SNAKEMAKE = "9.27"  # the one that the tests run


class ResourceSettings(Protocol):
    """What the command line says of resources."""

    @property
    def cores(self) -> int | None:
        """Cores of this machine that may be used; None where jobs run elsewhere."""

    @property
    def nodes(self) -> int | None:
        """Jobs at a time on a cluster; None on one machine."""


class ConfigSettings(Protocol):
    """What the command line says of the configuration."""

    @property
    def overwrite_config(self) -> Mapping[str, Any]:
        """The values of --config and the content of --configfile."""


class OutputSettings(Protocol):
    """What the command line says of what is told."""

    @property
    def verbose(self) -> bool:
        """Whether all is to be told."""

    @property
    def debug_dag(self) -> bool:
        """Whether the choice of jobs is to be told."""


class Modifier(Protocol):
    """What becomes of the rules of a module."""

    def modify_rulename(self, rulename: str) -> str:
        """Return a rule's name after ``use rule * from ... as ...``."""

    def modify_path(self, path: str) -> str:
        """Return where a file lies after ``prefix:`` of a module."""

    def is_main_snakefile(self) -> bool:
        """Whether the rules that are being read are no module's."""


class Workflow(Protocol):
    """The workflow that is being read."""

    @property
    def is_main_process(self) -> bool:
        """Whether the user called this process; else it does a job."""

    @property
    def remote_exec(self) -> bool:
        """Whether this process does a job on another machine."""

    @property
    def resource_settings(self) -> ResourceSettings:
        """What the command line says of resources."""

    @property
    def config_settings(self) -> ConfigSettings:
        """What the command line says of the configuration."""

    @property
    def output_settings(self) -> OutputSettings:
        """What the command line says of what is told."""

    @property
    def global_resources(self) -> Mapping[str, Any]:
        """The resources that have a limit."""

    @property
    def modifier(self) -> Modifier:
        """What becomes of the rules that are being read."""

    def register_resource(self, name: str, value: int) -> None:
        """Give a resource a limit."""


class Job(Protocol):
    """The job that a script does; each file and parameter goes by its name in the rule."""

    @property
    def input(self) -> Any:
        """The input files."""

    @property
    def output(self) -> Any:
        """The output files."""

    @property
    def params(self) -> Any:
        """The parameters."""

    @property
    def wildcards(self) -> Any:
        """The values of the wildcards."""

    @property
    def threads(self) -> int:
        """Cores of the job."""

    @property
    def log(self) -> Sequence[str]:
        """The log files, of which there is one."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration, of all files and of the command line."""
