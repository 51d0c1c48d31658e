"""Files that a case file names: where they lie, and what is wrong with a path."""

from __future__ import annotations

from pathlib import Path

from attnprobe.core.errors import SelectorError
from attnprobe.core.registry import clip_name, did_you_mean

LARGEST_TEXT = 10_000_000  # bytes


class ProjectFiles:
    """The files of a project, as a case file names them.

    Args:
        folder: of the case file; paths start there.
        root: of the project; files lie below it.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root
        self._texts: dict[Path, str] = {}

    @property
    def texts(self) -> tuple[Path, ...]:
        """The files that `text` has read."""
        return tuple(self._texts)

    def find(self, written: str, suffix: str, *, packed: bool = False) -> Path:
        """The file of a path.

        Args:
            packed: whether the file may be compressed with gzip, `x.conllu.gz`.

        Raises:
            SelectorError: there is no such file with this suffix, or it lies elsewhere.
        """
        try:
            file = (self.folder / written).resolve()
            is_file = file.is_file()
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error  # a RuntimeError is a loop of links
            raise SelectorError(f"{clip_name(written)!r} is no path: {reason}") from None
        if Path(written).is_absolute() or not file.is_relative_to(self.root):
            complaint = (
                "lies outside of the project; name a file in it, from the case file's folder"
            )
        elif not (file.name.removesuffix(".gz") if packed else file.name).endswith(suffix):
            complaint = f"is no {suffix} file"
        elif not is_file and file.exists():
            complaint = "is no file"
        elif not is_file:
            complaint = f"is not there; {did_you_mean(file.name, _names(file.parent, suffix))}"
        else:
            return file
        raise SelectorError(f"{clip_name(written)!r} {complaint}")

    def text(self, written: str) -> str:
        """The characters of a `.txt` file in UTF-8.

        Raises:
            SelectorError: as `find`; or the file cannot be read, is too large or in another
                encoding, or has no word.
        """
        file = self.find(written, ".txt")
        if file not in self._texts:
            self._texts[file] = _read(file)
        return self._texts[file]


def _read(file: Path) -> str:
    name = clip_name(file.name)
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_TEXT + 1)
        if len(content) > LARGEST_TEXT:
            raise SelectorError(f"{name!r} is larger than {LARGEST_TEXT / 1e6:.0f} MB")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise SelectorError(f"{name!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SelectorError(f"{name!r} is not in UTF-8, from byte {error.start}") from None
    if not text.strip():
        raise SelectorError(f"{name!r} holds no word")
    return text


def _names(folder: Path, suffix: str) -> list[str]:
    """Names of the files in a folder with this suffix; empty if there is no such folder."""
    return [file.name for file in folder.glob(f"*{suffix}")] if folder.is_dir() else []
