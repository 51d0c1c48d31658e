"""Every text architecture that transformers knows, built small and compared with eager attention.

`make breadth` runs `python -m tests.architectures`, which rewrites `docs/architectures.md`. The
small networks serve other tests as well. Nothing of this is installed.
"""
