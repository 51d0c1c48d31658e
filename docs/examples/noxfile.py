"""nox -s gate -- path/to/model"""

import os

import nox

# This repository by a tag, or a wheel that was built from it.
ATTNPROBE = os.environ.get("ATTNPROBE", "git+https://github.com/OWNER/attnprobe@v0.1.0")
# torch for the CPU; the default one brings several GB of CUDA libraries.
TORCH_INDEX = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")


@nox.session
def gate(session: nox.Session) -> None:
    """May the model be released?"""
    if len(session.posargs) != 1:
        session.error("say which model: nox -s gate -- path/to/model")
    (model,) = session.posargs
    session.install("torch", "--index-url", TORCH_INDEX)
    session.install(ATTNPROBE)
    session.run("attnprobe", "gate", "cases", f"--attn-model=candidate={model}")
