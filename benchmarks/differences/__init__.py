"""Where our layers differ from a framework's own, and the number that it makes.

`python -m benchmarks.differences` measures every difference and writes the table in
docs/interop.md.
"""
