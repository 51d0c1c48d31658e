"""nox -s gate -- path/to/model"""

import nox


@nox.session
def gate(session: nox.Session) -> None:
    """May the model be released?"""
    if len(session.posargs) != 1:
        session.error("say which model: nox -s gate -- path/to/model")
    (model,) = session.posargs
    session.install("attnprobe")
    session.run("attnprobe", "gate", "cases", f"--attn-model=candidate={model}")
