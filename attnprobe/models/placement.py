"""Networks that accelerate has divided among devices, memory and disk.

Weights that wait in memory or on disk are on the meta device. A hook of their module loads them
before its forward and frees them after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def device_of(network: nn.Module) -> torch.device:
    """The device on which a network takes its input: that of its first weight."""
    return next(_devices(network))


def describe_devices(network: nn.Module) -> str:
    """The devices on which its layers compute: `cpu`, or `cuda:0, cuda:1`."""
    return ", ".join(sorted({str(device) for device in _devices(network)}))


def is_offloaded(network: nn.Module) -> bool:
    """Whether weights are elsewhere until their layer computes."""
    return any(weight.is_meta for weight in network.parameters())


def first_unreachable(network: nn.Module) -> str | None:
    """The name of a weight on the meta device that no hook loads; None where there is none."""
    for path, module in network.named_modules():
        for name, tensor in (
            *module.named_parameters(recurse=False),
            *module.named_buffers(recurse=False),
        ):
            if tensor.is_meta and name not in _stored_of(module):
                return f"{path}.{name}".lstrip(".")
    return None


def stored(network: nn.Module, name: str) -> Tensor:
    """The weight of a network's state that a hook loads."""
    path, _, own = name.rpartition(".")
    weight: Tensor = _stored_of(network.get_submodule(path))[own]
    return weight


def _devices(network: nn.Module) -> Iterator[torch.device]:
    for module in network.modules():
        for weight in module.parameters(recurse=False):
            if not weight.is_meta:
                yield weight.device
            else:
                yield from (
                    torch.device(hook.execution_device)
                    for hook in _hooks(module)
                    if hook.execution_device is not None
                )


def _stored_of(module: nn.Module) -> Mapping[str, Tensor]:
    """What the hook of a module loads, by name."""
    for hook in _hooks(module):
        if hook.offload and hook.weights_map is not None:
            found: Mapping[str, Tensor] = hook.weights_map
            return found
    return {}


def _hooks(module: nn.Module) -> tuple[Any, ...]:
    """The hooks of accelerate on a module that place its weights."""
    hook = getattr(module, "_hf_hook", None)
    hooks = getattr(hook, "hooks", (hook,))  # several, one after the other
    return tuple(part for part in hooks if hasattr(part, "weights_map"))
