"""The release gate: it judges a finished run by a policy and returns a decision.

The modules work on recorded data alone. The exceptions are `moved` and `twin`, which load models
and judge checks again, and `release`, which runs pytest and writes files.
"""

from attnprobe.gate.check import Moved
from attnprobe.gate.control import TwinControl, TwinRun, wanted_on_twin
from attnprobe.gate.decision import Decision, cannot_judge, read_decision
from attnprobe.gate.first_policy import append_policy, first_policy, undemanded
from attnprobe.gate.judge import broken_keys, judge
from attnprobe.gate.lookup import find_policy, missing_policy, read_policy
from attnprobe.gate.policy import PYPROJECT, Policy, Waiver
from attnprobe.gate.reasons import Reason

__all__ = [
    "PYPROJECT",
    "Decision",
    "Moved",
    "Policy",
    "Reason",
    "TwinControl",
    "TwinRun",
    "Waiver",
    "append_policy",
    "broken_keys",
    "cannot_judge",
    "find_policy",
    "first_policy",
    "judge",
    "missing_policy",
    "read_decision",
    "read_policy",
    "undemanded",
    "wanted_on_twin",
]
