"""Libraries that read files of other frameworks: asked for when there is such a file."""

import importlib
from types import ModuleType


def library(name: str, purpose: str, extra: str) -> ModuleType:
    """A library.

    Args:
        name: The name that it is imported by.
        purpose: What it is needed for, for the message.
        extra: The extra of our distribution that installs it.

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: If it is not installed; tells what to install.

    Example:
        >>> library("numpy", "reading arrays", "torch").__name__
        'numpy'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != name.split(".")[0]:
            raise  # it is there, and lacks something itself
        raise ModuleNotFoundError(
            f"{purpose} needs {name}, which is not installed. Install it with: pip install {name}, "
            f'or: pip install "inox-normalization[{extra}]"',
            name=name,
        ) from None
