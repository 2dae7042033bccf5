"""A person's own images: any tree of image files."""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from infogan.datasets.archives import FolderMembers, files_in, folder_members
from infogan.datasets.decoding import Decoded
from infogan.datasets.raw import RawDataset, brought
from infogan.datasets.values import RawImages, RawSplit
from infogan.errors import Rejected, UserError
from infogan.options import Source

_logger = logging.getLogger(__name__)

_FOLDERS_NAMED = 3  # in a warning

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


class ImageFolder(RawDataset):
    """One split, ``all``, of the images below a folder, decoded when asked for.

    If they all lie in sub-folders, of which there are several, these are their classes, and their
    names the names of the classes. Images beside them leave none, which the log says.
    """

    def read(self, folder: Path, source: Source) -> RawImages:
        """List the images."""
        root = brought(folder, source)
        named = f"put yours there, or name their folder by --params={folder.name}.source.path=PATH"
        # By a hash of the name, so that any slice is a random sample, and one image more moves no
        # other to another place among the rest.
        found = _images_in(root, "" if source.path else f": {named}")
        names = sorted(found, key=lambda name: hashlib.sha256(_bytes(name)).digest())
        members = folder_members(root, names)
        labels, classes = _classes(names)
        split = RawSplit(Decoded(_Inside(members)), labels, names=[*map(_shown, names)])
        opened = {
            "path": source.path or str(folder),
            "images": members.extent(),
            **({"class_names": [*map(_shown, classes)]} if classes else {}),
        }
        return RawImages({"all": split}, origin=opened, stamp=members.stamp())


@dataclass(frozen=True)
class _Inside(Sequence[bytes]):
    """The contents of a folder's files; a link that leads out of it is rejected."""

    members: FolderMembers

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, number: int) -> bytes:  # type: ignore[override]
        root = self.members.path
        path = root / self.members.names[number]
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            raise Rejected("is a link that leads out of the folder")
        return self.members[number]


def _images_in(root: Path, hint: str) -> list[str]:
    """Relative paths, in POSIX form, of the images below a folder; UserError, which ends in the
    hint, if there are none.
    """
    wanted = f"a folder with images ({', '.join(SUFFIXES)})"
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise UserError(f"{root} {state}, but source.path must be {wanted}{hint}.")
    names = [
        name
        for name in files_in(root)
        if PurePosixPath(name).suffix.lower() in SUFFIXES and "__MACOSX" not in name.split("/")
    ]
    if not names:
        raise UserError(f"{root} holds no image, but must be {wanted}{hint}.")
    return names


def _classes(names: list[str]) -> tuple[np.ndarray | None, list[str]]:
    """Each image's class int64 (N,), and the sub-folders that these number; none if not any."""
    inside = [name.partition("/")[0] for name in names if "/" in name]
    if len(set(inside)) < 2:
        return None, []
    if beside := len(names) - len(inside):
        _logger.warning(
            "%d images lie beside the sub-folders %s, so these are not taken for classes: move "
            "them into one, if they shall be",
            beside,
            ", ".join(sorted(set(inside))[:_FOLDERS_NAMED]),
        )
        return None, []
    classes = sorted(set(inside), key=_natural)
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places[name] for name in inside], np.int64), classes


def _natural(name: str) -> tuple[list[int | str], str]:
    """What puts 2 before 10, and otherwise goes by the characters."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _shown(name: str) -> str:
    """A path as text, whatever it is made of."""
    return _bytes(name).decode(errors="replace")


def _bytes(name: str) -> bytes:
    """A path as the file system has it, which need not be UTF-8."""
    return name.encode(errors="surrogateescape")
