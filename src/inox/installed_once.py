"""Is this the only distribution here whose import package is `inox`?

The package registry has another one, named `inox` as its import package is. pip installs both into
the same folder without a word: files that both have are those of the later one, and uninstalling
one takes files from the other. What is left fails anywhere, or computes something else.
"""

import functools
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

# Found by its name: to look for owners of any name would be to read what every distribution
# installed says of its files, which takes longer than the rest of this import.
OTHER = "inox"


def owns_package(found: Distribution) -> bool:
    """Whether a distribution of the other's name brings an import package `inox`."""
    if not (found.read_text("METADATA") or found.read_text("PKG-INFO")):
        return False  # a folder that an uninstallation left behind
    packages = set((found.read_text("top_level.txt") or "").split())
    files = found.files or ()
    packages |= {file.parts[0] for file in files if len(file.parts) > 1 and file.suffix == ".py"}
    # An editable installation may name no package: what it puts on the path is then its own.
    return OTHER in packages or not packages


@functools.cache
def check_installed_once() -> None:
    """Refuses to go on beside another distribution that owns the import name, or in what it left.

    Raises:
        ImportError: If there is one, or if the package's first file is gone; tells the cure.
    """
    folder = Path(__file__).parent
    for found in distributions(name=OTHER):
        if owns_package(found):
            raise ImportError(
                f"Two distributions own the import name inox: inox-normalization, in {folder}, and "
                f"{OTHER} {found.version}, in {found.locate_file(OTHER)}. One overwrites or hides "
                "the files of the other, so remove both and install the one you need: "
                f"pip uninstall -y {OTHER} inox-normalization && pip install inox-normalization",
                name="inox",
                path=str(folder),
            )
    if getattr(sys.modules["inox"], "__file__", None) is None:
        raise ImportError(
            f"inox-normalization lacks files in {folder}, as after uninstalling another "
            "distribution that owns the import name inox. Install it again: "
            "pip install --force-reinstall --no-deps inox-normalization",
            name="inox",
            path=str(folder),
        )
