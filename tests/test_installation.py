"""Installed beside another distribution that owns the import name, or without a framework.

Distributions are really installed, by pip, from wheels that the tests make: ours of the sources,
the other one of a few lines with the names of files that the one on the registry has.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from inox import interop
from tests.bare_environment import link_jax

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src"
INTEROP = SOURCES / "inox" / "interop"
CURE = "pip uninstall -y inox inox-normalization && pip install inox-normalization"

# `inox` and `inox.nn` are in both, as `inox.nn.module` is; `inox.tree` is in theirs alone. Their
# module `inox.nn.normalization` lies beside our folder of that name.
THEIRS = {
    "inox/__init__.py": "from . import nn, tree\n",
    "inox/tree.py": "whose = 'theirs'\n",
    "inox/nn/__init__.py": "from .module import *\nfrom .normalization import *\n",
    "inox/nn/module.py": "class Module:\n    whose = 'theirs'\n",
    "inox/nn/normalization.py": "from .module import *\n",
}
# The sources of ours, without the compiled kernels.
OURS = {
    file.relative_to(SOURCES).as_posix(): file.read_text(encoding="utf-8")
    for file in SOURCES.rglob("*.py")
}


def make_wheel(folder, name, files, top_level=None):
    """A wheel of the given files, and what else pip asks of one."""
    information = f"{name.replace('-', '_')}-9.8.7.dist-info"
    files = {
        **files,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.8.7\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if top_level:
        files[f"{information}/top_level.txt"] = f"{top_level}\n"
    record = f"{information}/RECORD"
    files[record] = "".join(f"{file},,\n" for file in [*files, record])
    path = folder / f"{name.replace('-', '_')}-9.8.7-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def run(*command):
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"},
    )


@pytest.fixture(scope="module")
def jax_folder(tmp_path_factory):
    """The one folder that programs find jax in, and nothing else."""
    return link_jax(tmp_path_factory.mktemp("jax") / "only")


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A Python with pip, which the environment of the tests may lack."""
    folder = tmp_path_factory.mktemp("tools") / "environment"
    made = run(sys.executable, "-m", "venv", folder)
    assert made.returncode == 0, made.stderr
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    return {
        "ours": make_wheel(folder, "inox-normalization", OURS),
        "theirs": make_wheel(folder, "inox", THEIRS, "inox"),
    }


class Environment:
    """A new virtual environment that sees jax, and has installed what is asked for."""

    def __init__(self, folder, tools, jax_folder):
        made = run(sys.executable, "-m", "venv", "--without-pip", folder)
        assert made.returncode == 0, made.stderr
        self.tools, self.python = tools, folder / "bin" / "python"
        (self.packages,) = folder.glob("lib/python*/site-packages")
        (self.packages / "jax.pth").write_text(f"{jax_folder}\n", encoding="utf-8")

    def pip(self, command, *arguments):
        done = run(self.tools, "-m", "pip", "--python", self.python, command, *arguments)
        assert done.returncode == 0, done.stderr

    def install(self, *wheels):
        for wheel in wheels:  # one after the other: pip takes several in an order of its own
            self.pip("install", "--no-index", "--no-deps", "--no-compile", wheel)
        return self

    def execute(self, program):
        return run(self.python, "-I", "-c", program)


@pytest.fixture
def environment(tmp_path, tools, jax_folder):
    return Environment(tmp_path / "environment", tools, jax_folder)


def check_refused(done):
    """That a program ended by the error that names both distributions, where they are, the cure."""
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: Two distributions own the import name inox: ")
    assert re.search(r"inox-normalization, in \S*/inox, and inox 9\.8\.7, in \S*/inox\.", message)
    assert message.endswith(CURE)


@pytest.mark.parametrize("order", [("theirs", "ours"), ("ours", "theirs")], ids="-then-".join)
def test_two_distributions_in_one_folder(environment, wheels, order):
    """Whichever came last, and whichever `inox/__init__.py` is there, the import is refused."""
    environment.install(*(wheels[name] for name in order))
    first = (environment.packages / "inox" / "__init__.py").read_text(encoding="utf-8")
    assert (first == THEIRS["inox/__init__.py"]) == (order[-1] == "theirs")
    for program in ("import inox", "import inox.functional", "from inox.nn import BatchNorm"):
        done = environment.execute(program)
        check_refused(done)
        # Ours asks before it imports anything; theirs goes on until it meets a folder of ours.
        assert ("normalization/__init__.py" in done.stderr) == (order[-1] == "theirs")


@pytest.mark.parametrize("last", ["ours", "theirs"])
def test_the_cure(environment, wheels, last):
    """What the error says to do leaves a package that works."""
    first = {"ours": "theirs", "theirs": "ours"}[last]
    environment.install(wheels[first], wheels[last])
    environment.pip("uninstall", "-y", "inox", "inox-normalization")
    environment.install(wheels["ours"])
    done = environment.execute("import inox; print(inox.nn.LayerNorm().epsilon)")
    assert (done.stdout, done.stderr) == ("1e-05\n", "")


@pytest.mark.parametrize("last", ["ours", "theirs"])
def test_half_a_cure(environment, wheels, last):
    """Uninstalling the other one takes files of ours along; what is left says what to do."""
    first = {"ours": "theirs", "theirs": "ours"}[last]
    environment.install(wheels[first], wheels[last])
    environment.pip("uninstall", "-y", "inox")
    done = environment.execute("import inox.nn.normalization")
    assert "ImportError: inox-normalization lacks files in " in done.stderr
    assert done.stderr.endswith("pip install --force-reinstall --no-deps inox-normalization\n")
    environment.pip("install", "--no-index", "--force-reinstall", "--no-deps", wheels["ours"])
    done = environment.execute("import inox.nn.normalization")
    assert (done.stdout, done.stderr) == ("", "")


def test_two_folders(tmp_path, tools, jax_folder, wheels):
    """Ours in a user's own folder, which comes first, and the other one in that of all users."""
    ours = Environment(tmp_path / "ours", tools, jax_folder).install(wheels["ours"])
    theirs = Environment(tmp_path / "theirs", tools, jax_folder).install(wheels["theirs"])
    program = f"import site; site.addsitedir({str(theirs.packages)!r}); import inox"
    check_refused(ours.execute(program))


def test_beside_ours_as_it_is_installed_here(tmp_path, tools, jax_folder, wheels):
    """The tests' own installation of ours, often an editable one: the other one is found too."""
    theirs = Environment(tmp_path / "theirs", tools, jax_folder).install(wheels["theirs"])
    program = f"import site; site.addsitedir({str(theirs.packages)!r}); import inox"
    check_refused(run(sys.executable, "-c", program))


def test_an_editable_installation_of_the_other(environment, wheels, tmp_path):
    """It may list no file of the package, only what leads to its sources."""
    link = {"_inox_editable.pth": f"{tmp_path / 'sources'}\n"}
    environment.install(wheels["ours"], make_wheel(tmp_path, "inox", link))
    check_refused(environment.execute("import inox"))


def test_what_is_no_other_owner(environment, wheels, tmp_path):
    """A distribution that is only named so, and what an uninstallation left, do no harm."""
    named = make_wheel(tmp_path, "inox", {"steel/__init__.py": ""})
    environment.install(wheels["ours"], named)
    (environment.packages / "inox-1.2.3.dist-info").mkdir()
    done = environment.execute("import inox, steel; print(inox.nn.LayerNorm().epsilon)")
    assert (done.stdout, done.stderr) == ("1e-05\n", "")


EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
# What `framework` is asked for by adapters, whether they are there yet or not.
FRAMEWORKS = {"equinox": "equinox", "flax.linen": "flax", "flax.nnx": "flax", "haiku": "haiku"}
MODULES = sorted(path.stem for path in INTEROP.glob("*.py") if path.stem != "__init__")

# Every module in a process of its own would start jax as often.
ALONE = """\
import importlib, json, sys
sys.path[:0] = json.loads(sys.argv[1])
found = {}
for name in json.loads(sys.argv[2]):
    try:
        importlib.import_module(name)
    except ImportError as error:
        found[name] = [type(error).__name__, str(error)]
from inox.interop.optional_packages import framework
for name, extra in json.loads(sys.argv[3]).items():
    try:
        framework(name, extra)
    except ImportError as error:
        found[name] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def without_frameworks(jax_folder):
    """The errors of a process that finds jax, our sources and no framework."""
    modules = [f"inox.interop.{name}" for name in MODULES]
    path = [str(SOURCES), str(jax_folder)]
    arguments = map(json.dumps, (path, modules, FRAMEWORKS))
    done = run(sys.executable, "-I", "-S", "-c", ALONE, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_says_what_to_install(kind, message):
    assert kind == "ModuleNotFoundError"
    extra = re.search(r'pip install "inox-normalization\[(.+)\]"$', message)
    assert extra, message
    assert extra[1] in EXTRAS


@pytest.mark.parametrize("name", MODULES)
def test_a_module_without_its_framework(without_frameworks, name):
    """A module of `inox.interop` imports without any framework, or says what to install."""
    if f"inox.interop.{name}" in without_frameworks:
        check_says_what_to_install(*without_frameworks[f"inox.interop.{name}"])


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework_that_is_not_there(without_frameworks, name):
    """Asked for on behalf of an adapter, it is named, with the extra that installs it."""
    kind, message = without_frameworks[name]
    assert message.startswith(f"{name.split('.')[0]} is not installed")
    assert f"[{FRAMEWORKS[name]}]" in message
    check_says_what_to_install(kind, message)


def test_classes_of_a_framework_need_it(without_frameworks):
    """A subclass of what is not there can't be: the import itself fails."""
    for name in {"equinox", "flax_linen", "flax_nnx", "haiku"} & {*MODULES}:
        assert f"inox.interop.{name}" in without_frameworks


def test_every_adapter_has_an_extra():
    """`pip install "inox-normalization[flax]"` and so on: by the framework's name."""
    assert {name.split("_")[0] for name in interop.ADAPTERS} <= set(EXTRAS)


def test_the_folder_of_adapters_loads_at_its_first_use():
    """`import inox` loads nothing of it; `inox.interop` is there all the same."""
    program = (
        "import sys, inox; assert 'inox.interop' not in sys.modules; print(inox.interop.__name__)"
    )
    done = run(sys.executable, "-c", program)
    assert (done.stdout, done.stderr) == ("inox.interop\n", "")


def test_adapters_load_at_their_first_use():
    """`import inox` is enough to say `inox.interop.torch`; and what is no adapter is told."""
    for name in set(interop.ADAPTERS) & set(MODULES):
        assert getattr(interop, name).__name__ == f"inox.interop.{name}"
    with pytest.raises(AttributeError, match=r"no attribute 'jraph'\. Its adapters: equinox, "):
        interop.jraph  # noqa: B018 (reading it is what raises)
