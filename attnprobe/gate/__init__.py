"""The release gate: a policy, and what becomes of a run under it.

Pure data but for `moved` and `twin`, which judge checks again on models.
"""

from attnprobe.gate.check import Moved, key_of
from attnprobe.gate.control import Control, TwinRun, wanted_on_twin
from attnprobe.gate.decision import Decision, cannot_judge, read_sentence
from attnprobe.gate.judge import broken_keys, judge
from attnprobe.gate.policy import Policy, Waiver, find_policy, read_policy
from attnprobe.gate.reasons import Reason

__all__ = [
    "Control",
    "Decision",
    "Moved",
    "Policy",
    "Reason",
    "TwinRun",
    "Waiver",
    "broken_keys",
    "cannot_judge",
    "find_policy",
    "judge",
    "key_of",
    "read_policy",
    "read_sentence",
    "wanted_on_twin",
]
