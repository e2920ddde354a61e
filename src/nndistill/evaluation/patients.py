"""Which cases belong to one patient: examinations of one patient are no independent cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..files import read_json

REPORT = "report.json"
"""The report of a prepared data set, which names the patient of every case."""


def read_patients(path: Path) -> dict[str, str]:
    """Read the patient of each case from a table with the columns `case` and `patient`, or from a `report.json`.

    Raises:
        UserError: The file is missing or unreadable, lacks a column or a value, or names a case twice.
    """
    if path.suffix == ".json":
        found = _of_report(path)
        if not found:
            raise UserError(
                f"{path} names no patients: it is not the report of a prepared data set.", option="patients"
            )
        return found
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path} is missing.", option="patients") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{path} cannot be read as CSV: {str(error).strip()}.", option="patients") from error
    if lacking := [column for column in ("case", "patient") if column not in table]:
        raise UserError(f"{path} has no column {', '.join(lacking)}: it needs case and patient.", option="patients")
    if (table[["case", "patient"]] == "").any(axis=None):
        raise UserError(f"{path} has a row without a case or a patient.", option="patients")
    if len(twice := table[table.duplicated("case")]):
        raise UserError(f"{path} names the case {twice['case'].iloc[0]} twice.", option="patients")
    return dict(zip(table["case"], table["patient"], strict=True))


def known_patients(folders: Iterable[Path]) -> dict[str, str]:
    """The patient of each case from the report of the data set in the first of these folders that has one.

    A file of this name that is something else is passed over.
    """
    for folder in folders:
        try:
            if found := _of_report(folder / REPORT):
                return found
        except UserError:
            continue
    return {}


def check_patients(patients: Mapping[str, str], cases: Iterable[str]) -> None:
    """Refuse a table of patients that lacks cases.

    Raises:
        UserError: It lacks some.
    """
    lacking = sorted(set(cases) - patients.keys())
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise UserError(
            f"the table of patients lacks {len(lacking)} of the cases: {', '.join(lacking[:5])}{more}.",
            option="patients",
        )


def _of_report(path: Path) -> dict[str, str]:
    cases = read_json(path).get("cases")
    if not isinstance(cases, Mapping):
        return {}
    return {
        str(case): str(content["patient"])
        for case, content in cases.items()
        if isinstance(content, Mapping) and "patient" in content
    }
