"""The release gate: a policy, and what becomes of a run under it. Pure data but for `moved`."""

from attnprobe.gate.decision import Decision, Reason, cannot_judge
from attnprobe.gate.judge import Moved, broken_keys, judge
from attnprobe.gate.policy import Policy, Waiver, find_policy, read_policy

__all__ = [
    "Decision",
    "Moved",
    "Policy",
    "Reason",
    "Waiver",
    "broken_keys",
    "cannot_judge",
    "find_policy",
    "judge",
    "read_policy",
]
