"""The release gate: a policy, and what becomes of a run under it. Pure data but for `moved`."""

from attnprobe.gate.check import Moved
from attnprobe.gate.decision import Decision, cannot_judge
from attnprobe.gate.judge import broken_keys, judge
from attnprobe.gate.policy import Policy, Waiver, find_policy, read_policy
from attnprobe.gate.reasons import Reason

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
