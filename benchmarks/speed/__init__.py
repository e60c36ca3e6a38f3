"""Speed of our norms beside other libraries, in one interleaved run: `python -m benchmarks.speed`.

`cells` says what is measured, `contestants` by whom, `timing` how, `bars` what is asked of it.
Adding a library is a function in a file `libraries_*.py` and a line in `contestants`.
"""
