"""Equinox itself, or the error that tells what to install."""

from typing import TYPE_CHECKING

from ..optional_packages import framework

if TYPE_CHECKING:
    import equinox as eqx
else:
    eqx = framework("equinox", "equinox")

__all__ = ["eqx"]
