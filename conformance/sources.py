"""Where the tests come from: the package registry, at the version that is installed.

Flax has its tests in its source distribution, which pip fetches and checks against the registry's
checksum; only the tests are unpacked, so that they run against the Flax that is installed. The
wheels of Haiku and Keras have theirs in them.
"""

import hashlib
import subprocess
import sys
import tarfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

CACHE = Path(__file__).parents[1] / "build" / "conformance"


def flax_tests() -> Path:
    """The folder with Flax' tests and their configuration, fetched if it isn't there."""
    name = f"flax-{version('flax')}"
    archive = CACHE / f"{name}.tar.gz"
    checksum = CACHE / f"{name}.tar.gz.sha256"
    if not (archive.is_file() and checksum.is_file() and checksum.read_text() == sha256(archive)):
        download("flax", CACHE)
        checksum.write_text(sha256(archive))
    unpack(archive, CACHE, ("tests", "pyproject.toml"))
    return CACHE / name


def package_folder(package: str) -> Path:
    """The folder of a package that has its tests among its modules."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def download(distribution: str, folder: Path) -> None:
    """Fetch the source distribution of what is installed; pip compares its checksum.

    pip asks a source distribution for its metadata, so its build backend is installed (apart from
    our environment) and runs; nothing is built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = f"{distribution}=={version(distribution)}"
    print(f"fetching {wanted}", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", distribution, "--dest", str(folder), wanted]
    subprocess.run(command, check=True)


def unpack(archive: Path, folder: Path, parts: tuple[str, ...]) -> None:
    """Unpack some files and folders of an archive whose files are in one folder."""
    with tarfile.open(archive) as opened:
        members = [
            member
            for member in opened.getmembers()
            if len(path := Path(member.name).parts) > 1 and path[1] in parts
        ]
        opened.extractall(folder, members=members, filter="data")


def sha256(file: Path) -> str:
    """The checksum of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
