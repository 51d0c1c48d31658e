"""How many threads torch uses."""

from __future__ import annotations

import torch


def use_threads(count: int) -> None:
    """Makes the forwards of this process use so many threads.

    The order in which torch adds numbers, and so their last bits, can depend on it.
    """
    torch.set_num_threads(count)
