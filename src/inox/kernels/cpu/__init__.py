"""The CPU kernels: the shared library, and each operation's call of it."""
