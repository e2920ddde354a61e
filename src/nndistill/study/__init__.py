"""Many trainings as one reproducible study: a file that describes it, and one command that carries it out."""

from .definition import Study
from .loading import load_study
from .report import write_study_report
from .runs import StudyRun, study_runs

__all__ = ["Study", "StudyRun", "load_study", "study_runs", "write_study_report"]
