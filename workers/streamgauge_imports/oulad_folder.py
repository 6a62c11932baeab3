"""The files of the Open University Learning Analytics Dataset (Kuzilek, Hlosta, Zdrahal 2017), by their published names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamgauge.errors import InputError
from streamgauge_imports.table_rows import BadRow, Row, picked
from streamgauge_imports.text_files import TextFile, examine_text

VIEWS, MATERIALS, ASSESSMENTS, SUBMISSIONS = "studentVle", "vle", "assessments", "studentAssessment"
#: What of each file is read.
COLUMNS: Final = {
    VIEWS: ("code_module", "code_presentation", "id_student", "id_site", "date", "sum_click"),
    MATERIALS: ("id_site", "code_module", "code_presentation", "activity_type"),
    ASSESSMENTS: ("id_assessment", "code_module", "code_presentation"),
    SUBMISSIONS: ("id_assessment", "id_student", "date_submitted", "is_banked", "score"),
}
#: What becomes of the import without a file.
WITHOUT: Final = {
    MATERIALS: "materials have no type",
    ASSESSMENTS: "nothing that was handed in is imported: which course it belongs to is not known",
    SUBMISSIONS: "nothing that was handed in is imported",
}
MISSING: Final = ("", "?")  #: how the dataset writes that a value is not known


@dataclass(frozen=True)
class Folder:
    """A folder's files. What is not there is not in `files`."""

    path: Path
    files: dict[str, TextFile]

    @property
    def missing(self) -> list[str]:
        """What to tell about files that are not there."""
        return [
            f"{name}.csv is not there: {told}" for name, told in WITHOUT.items() if name not in self.files
        ]

    def rows(self, name: str) -> Iterator[Row | BadRow]:
        """The rows of a file in the columns of COLUMNS; none of one that is not there. Raises InputError for a column that is missing."""
        return iter(()) if name not in self.files else picked(self.files[name].path, COLUMNS[name])


def find_folder(path: Path) -> Folder:
    """Find the files and read each of them whole.

    Raises InputError when `studentVle` is missing, when a file is there plain and packed, cannot be read, or lacks a column.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no folder: give the one that holds {VIEWS}.csv", "folder")
    found = {}
    for name in COLUMNS:
        there = [each for each in (path / f"{name}.csv", path / f"{name}.csv.gz") if each.exists()]
        if len(there) > 1:
            raise InputError(f"{path} holds {name}.csv plain and packed: remove one of them", "folder")
        if there:
            found[name] = examine_text(there[0])
    if VIEWS not in found:
        raise InputError(f"{path} holds no {VIEWS}.csv or {VIEWS}.csv.gz", "folder")
    folder = Folder(path, found)
    for name in found:
        next(folder.rows(name), None)
    return folder


def course_of(module: str, presentation: str) -> str:
    """What a presentation of a module is called in events."""
    return f"{module}-{presentation}"


def known(cells: Sequence[str]) -> bool:
    """Whether all of them hold something."""
    return not any(each in MISSING for each in cells)
