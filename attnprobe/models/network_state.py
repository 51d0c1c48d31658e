"""Leaves a network as it was before a forward.

Some networks change themselves while they run: BigBird turns to full attention at the first short
text and stays there, dynamic rotary positions keep the frequencies of the longest text so far,
Reformer chooses its number of buckets at the first call. A measurement must not depend on earlier
ones, and the owner of a network must get it back unchanged.

Attributes, submodules, hooks, buffers and configurations are restored. Weights are not copied: a
network that writes to its own weights is refused.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnprobe.core.errors import ModelError

_CONTAINERS = (dict, OrderedDict, list, set)
# Elements of the largest tensor that is copied. Tables of rotary frequencies are far smaller. Whole
# attention masks are larger, and no known network writes to those.
MOST_COPIED = 2**16


@contextmanager
def preserved(network: nn.Module, configs: Iterable[object]) -> Iterator[None]:
    """Leaves a network and its configurations as they were on entry.

    The cost is a walk over the modules, at most a few milliseconds.

    Raises:
        ModelError: the network wrote to one of its weights. Nothing is restored then, since the
            other changes may belong to the changed weight.
    """
    filled: list[tuple[Any, Any]] = []
    # Most containers of a module are tables of hooks, and empty.
    empty: list[Any] = []
    for owner in (*network.modules(), *configs):
        _add_contents(vars(owner), filled, empty)
    tensors = [
        (name, tensor, _version(tensor), _copy(tensor)) for name, tensor in _tensors(network)
    ]
    try:
        yield
    finally:
        for name, tensor, version, copy in tensors:
            if copy is None and _version(tensor) != version:
                raise ModelError(
                    f"{type(network).__name__} writes to its own weights while it runs ({name}), "
                    "so a measurement would depend on the ones before it"
                )
        for container in empty:
            if container:
                container.clear()
        for container, before in filled:
            _restore(container, before)
        with torch.inference_mode():
            for _, tensor, version, copy in tensors:
                if copy is not None and (version is None or _version(tensor) != version):
                    tensor.copy_(copy)


@contextmanager
def random_state_kept(network: nn.Module) -> Iterator[None]:
    """Leaves the random generators of Python, numpy and torch as they were on entry.

    Some networks draw in every forward. Those of torch are the CPU's and the network's devices'.
    """
    kind = torch.accelerator.current_accelerator()
    devices = {weight.device for weight in network.parameters()} if kind else set()
    numbers = [device.index for device in devices if kind and device.type == kind.type]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  the networks' own
    with torch.random.fork_rng(numbers, device_type=kind.type if kind else "cuda"):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _add_contents(container: Any, filled: list[tuple[Any, Any]], empty: list[Any]) -> None:
    """Adds a container and those within it to the lists; filled ones with a shallow copy."""
    filled.append((container, container.copy()))
    for value in container.values() if isinstance(container, dict) else container:
        if type(value) in _CONTAINERS:
            if value:
                _add_contents(value, filled, empty)
            else:
                empty.append(value)


def _restore(container: Any, before: Any) -> None:
    """Puts the contents of its copy back into a container, unless they are the same objects."""
    if isinstance(container, set):
        same = container == before
    else:
        same = len(container) == len(before)
        if isinstance(container, dict):
            same = same and list(container) == list(before)
            same = same and all(map(is_, container.values(), before.values()))
        else:
            same = same and all(map(is_, container, before))
    if not same:
        container.clear()
        if isinstance(container, list):
            container.extend(before)
        else:
            container.update(before)


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers and other attributes that are tensors, with their names."""
    for path, module in network.named_modules():
        attributes = vars(module)
        for table in (attributes["_parameters"], attributes["_buffers"], attributes):
            for name, value in table.items():
                if isinstance(value, Tensor):
                    yield f"{path}.{name}".lstrip("."), value


def _version(tensor: Tensor) -> int | None:
    """How often a tensor was written to; None for a tensor that does not count it."""
    return None if tensor.is_inference() else tensor._version


def _copy(tensor: Tensor) -> Tensor | None:
    if isinstance(tensor, nn.Parameter) or tensor.numel() > MOST_COPIED or tensor.is_meta:
        return None
    return tensor.detach().clone()
