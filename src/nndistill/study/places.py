"""Where the files of a study are: next to its file, so that a study can be copied as a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DATA = "data"
"""Name of the job that prepares the data."""


@dataclass(frozen=True)
class StudyPlaces:
    """The files of a study.

    Args:
        file: The study's YAML file.
    """

    file: Path

    @property
    def folder(self) -> Path:
        """The folder of the study's file."""
        return self.file.parent

    @property
    def results(self) -> Path:
        """What finished runs leave: small, to be kept and shared."""
        return self.folder / "results"

    @property
    def replaced(self) -> Path:
        """Results of other setups that were redone."""
        return self.folder / "results-replaced"

    @property
    def report(self) -> Path:
        """Tables, figures and the page."""
        return self.folder / "report"

    @property
    def work(self) -> Path:
        """What can be made anew: logs, states, predictions, and the data set and models if no workspace is named."""
        return self.folder / "work"

    @property
    def jobs(self) -> Path:
        """What the workflow is given."""
        return self.work / "jobs.json"

    @property
    def workflow(self) -> Path:
        """Which process carries out the study, while one does."""
        return self.work / "workflow.json"

    @property
    def sbatch(self) -> Path:
        """A script that trains a run on several machines of a cluster."""
        return self.work / "several-machines.sbatch"

    def log(self, name: str) -> Path:
        """What a job prints."""
        return self.work / "logs" / f"{name}.txt"

    def state(self, name: str) -> Path:
        """What a job says about itself while it runs and when it fails."""
        return self.work / "states" / f"{name}.json"

    def done(self, name: str) -> Path:
        """An empty file that tells the workflow that a job has ended well."""
        return self.work / "done" / name

    def predictions(self, name: str) -> Path:
        """Label maps of the test cases."""
        return self.work / "predictions" / name
