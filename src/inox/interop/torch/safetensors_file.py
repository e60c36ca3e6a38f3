"""Files with the ending `.safetensors`, and why no others are read.

A pickled file runs whatever code it holds when it is read; a `.safetensors` file is numbers and
their names.
"""

import contextlib
import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..optional_packages import library

PICKLED = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"}
CURE = (
    "Write a .safetensors file in torch, safetensors.torch.save_file(model.state_dict(), "
    "'model.safetensors'), or load the file there and give what it holds: "
    "torch.load(path, weights_only=True)."
)


class SafetensorsFile(Mapping[str, Any]):
    """The arrays of an open file, each read when it is asked for.

    Args:
        file: What `safetensors.safe_open` opened, for NumPy.

    Example:
        >>> issubclass(SafetensorsFile, Mapping)
        True
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._keys: dict[str, None] = dict.fromkeys(file.keys())

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        try:
            return self._file.get_tensor(key)
        except (AttributeError, TypeError) as error:  # a dtype that NumPy has no name for
            raise TypeError(
                f"state_dict[{key!r}] must be of a dtype that NumPy or ml_dtypes has; the library "
                f"safetensors can't read it ({error}). Convert it in torch, tensor.float(), or "
                "load the file there and give the mapping: safetensors.torch.load_file(path)."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Generator[Mapping[str, Any]]:
    """Opens a `.safetensors` file.

    Args:
        path: Its path.

    Returns:
        A context, and in it a mapping from keys to arrays.

    Raises:
        FileNotFoundError: If there is none.
        ModuleNotFoundError: If the library `safetensors` is not installed.
        ValueError: If it is a pickled file, or another that is no `.safetensors` file.

    Example:
        >>> with opened("model.safetensors") as arrays:  # doctest: +ELLIPSIS
        ...     print(list(arrays))
        Traceback (most recent call last):
        FileNotFoundError: state_dict names the file 'model.safetensors', which is not there...
    """
    path = Path(path)
    if path.suffix.lower() in PICKLED:
        raise ValueError(
            f"state_dict names {path.name!r}: a file with the ending {path.suffix} may be pickled, "
            f"and would run the code that it holds. {CURE}"
        )
    if path.suffix.lower() == ".json":
        raise ValueError(
            f"state_dict names {path.name!r}: an index tells in which of several files an array "
            "is. Give the file that holds this layer, or one mapping of what all of them hold."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"state_dict names the file {str(path)!r}, which is not there. Give the path of a "
            ".safetensors file, or a mapping from keys to arrays."
        )
    with path.open("rb") as file:
        start = file.read(9)
    # Eight bytes of length, then JSON; a pickle starts with 0x80, torch's archive with PK.
    if len(start) < 9 or start[8:9] != b"{" or not _fits(start, path):
        raise ValueError(
            f"state_dict names {path.name!r}, which is no .safetensors file: it starts with "
            f"{start!r}. {CURE}"
        )
    safetensors = library("safetensors", "A .safetensors file", "torch")
    try:
        file = safetensors.safe_open(str(path), framework="np")
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"state_dict names {path.name!r}, which is damaged, or no .safetensors file: {error}. "
            "Fetch or write it again."
        ) from None
    with file as arrays:
        yield SafetensorsFile(arrays)


def _fits(start: bytes, path: Path) -> bool:
    return 8 + int.from_bytes(start[:8], "little") <= path.stat().st_size
