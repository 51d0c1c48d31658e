"""Damaged files of each kind, made by mutators that know how such a file is built.

`make fuzz` runs a million of them; `tests/fuzz/test_fuzz.py` runs some with a fixed seed, and all
that were ever found (`tests/fuzz/found/`).
"""
