"""The frameworks' own tests of their normalization layers, run against ours.

`make conformance`, or `python -m conformance --help`. The tests come from the package registry when
they are run; none of their code is kept here. Each of their files runs in a process of its own, in
which :mod:`.exchange` has put our classes where the framework exposes its own.
"""
