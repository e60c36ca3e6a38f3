"""Files with the ending `.weights.h5`, as Keras writes them, and why no others are read.

A `.keras` archive and a whole model in `.h5` hold a configuration from which Keras builds layers,
code among them. A `.weights.h5` file is groups of arrays: those are read, where they are plain
numbers that stand in the file itself.
"""

import contextlib
import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..optional_packages import library

ENDING = ".weights.h5"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Far beyond the parameters of any normalization layer.
MOST_NUMBERS = 2**28
CURE = f"Write one in Keras: model.save_weights('model{ENDING}')."


class WeightsFile(Mapping[str, Any]):
    """The arrays of an open file by their paths, each read when it is asked for.

    Links to elsewhere are not followed.

    Args:
        file: An open `h5py.File`.
        kind: The type `h5py.Dataset`.

    Example:
        >>> issubclass(WeightsFile, Mapping)
        True
    """

    def __init__(self, file: Any, kind: type) -> None:
        self._found: dict[str, Any] = {}

        def note(path: str, node: Any) -> None:
            if isinstance(node, kind):
                self._found[path] = node

        file.visititems(note)

    def __getitem__(self, path: str) -> np.ndarray:
        found = self._found[path]
        if found.is_virtual or found.external:
            raise ValueError(f"weights[{path!r}] stands in another file, which is not read. {CURE}")
        if found.size > MOST_NUMBERS:  # declared, at least: a file of a few bytes may say so
            raise ValueError(
                f"weights[{path!r}] has the shape {found.shape}, more numbers than any layer that "
                f"normalizes. {CURE}"
            )
        if found.attrs.get("dtype") == "bfloat16" and found.dtype == np.dtype("V2"):
            return self._read(path).view(jnp.bfloat16)
        if found.dtype.kind not in "fiub":
            raise ValueError(
                f"weights[{path!r}] must be an array of numbers; found {found.dtype}, which is "
                f"not read. {CURE}"
            )
        return self._read(path)

    def _read(self, path: str) -> np.ndarray:
        try:
            return np.asarray(self._found[path][()])
        except (RuntimeError, KeyError, OSError, ValueError) as error:
            raise ValueError(f"weights[{path!r}] is damaged: {error}. {CURE}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Generator[Mapping[str, Any]]:
    """Opens a `.weights.h5` file.

    Args:
        path: Its path.

    Returns:
        A context, and in it a mapping from paths to arrays.

    Raises:
        FileNotFoundError: If there is none.
        ModuleNotFoundError: If the library `h5py` is not installed.
        ValueError: If it is a file of another kind.

    Example:
        >>> with opened("model.keras") as arrays:  # doctest: +ELLIPSIS
        ...     print(list(arrays))
        Traceback (most recent call last):
        ValueError: weights names 'model.keras', which is no .weights.h5 file...
    """
    path = Path(path)
    if not path.name.endswith(ENDING):
        raise ValueError(
            f"weights names {path.name!r}, which is no {ENDING} file: a whole model may hold code, "
            f"and an index no arrays; neither is read. {CURE}"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"weights names the file {str(path)!r}, which is not there. Give the path of a "
            f"{ENDING} file, a Keras layer or its arrays."
        )
    with path.open("rb") as raw:
        start = raw.read(len(SIGNATURE))
    if start != SIGNATURE:
        raise ValueError(
            f"weights names {path.name!r}, which is no file of HDF5: it starts with {start!r}. "
            + CURE
        )
    h5py = library("h5py", f"A {ENDING} file", "keras")
    try:
        opened_file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"weights names {path.name!r}, which is damaged: {error}. {CURE}"
        ) from None
    with opened_file as file:
        try:
            arrays = WeightsFile(file, h5py.Dataset)
        except (RuntimeError, KeyError, OSError) as error:  # of a heap or tree that can't be read
            raise ValueError(
                f"weights names {path.name!r}, which is damaged: {error}. {CURE}"
            ) from None
        yield arrays
