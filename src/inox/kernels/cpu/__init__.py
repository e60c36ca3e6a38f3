"""The CPU's backend: a shared library of kernels, and sums in pairs where XLA's own err."""
