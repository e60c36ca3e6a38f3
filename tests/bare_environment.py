"""An import path with jax and what jax needs on it, and nothing else that is installed here."""

import re
from importlib.metadata import distribution
from pathlib import Path


def link_jax(folder: Path) -> Path:
    """Fills a folder with links to jax and its dependencies, as their distributions list them."""
    folder.mkdir()
    wanted, linked = ["jax"], set()
    while wanted:
        name = wanted.pop()
        if name in linked:
            continue
        linked.add(name)
        found = distribution(name)
        for requirement in found.requires or ():
            if "extra ==" not in requirement:
                wanted.append(re.match(r"[\w.-]+", requirement)[0].lower())
        # Scripts lie outside of the folder, and byte code is no package.
        for top in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
            (folder / top).symlink_to(Path(found.locate_file(top)).resolve())
    return folder
