"""What the compilers of TPU and GPU make of the norms, read off the programs they compile.

No such device is needed: a compiler takes a description of one. The README of the figures is
docs/platforms.md.
"""
