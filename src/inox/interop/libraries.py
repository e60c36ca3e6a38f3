"""Libraries that read files of other frameworks: asked for when there is such a file."""

from types import ModuleType

from .frameworks import imported


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
    return imported(
        name,
        f"{purpose} needs {name}, which is not installed. Install it with: pip install {name}, "
        f'or: pip install "inox-normalization[{extra}]"',
    )
