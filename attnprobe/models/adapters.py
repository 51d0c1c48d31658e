"""Adapters in the format of peft: found, checked, and merged into their base."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)
from transformers.utils import CONFIG_NAME

from attnprobe.core.errors import ModelError, first_line
from attnprobe.models.extras import require
from attnprobe.models.files import SAFE, check_safe, read_json_object, sha256

ADAPTER_CONFIG_NAME = "adapter_config.json"
ADAPTER_SAFE_WEIGHTS_NAME = "adapter_model.safetensors"
ADAPTER_WEIGHTS_NAME = "adapter_model.bin"
# Types that change nothing but the base's weights, and that peft merges exactly.
TYPES = ("LORA", "IA3")
# The class that an adapter of a task is trained on; the names of its weights follow from it.
_KINDS: Mapping[str, Any] = {
    "FEATURE_EXTRACTION": AutoModel,
    "CAUSAL_LM": AutoModelForCausalLM,
    "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM,
    "SEQ_CLS": AutoModelForSequenceClassification,
    "TOKEN_CLS": AutoModelForTokenClassification,
    "QUESTION_ANS": AutoModelForQuestionAnswering,
}
# Tasks whose heads are trained from scratch and act behind all attention.
_CLASSIFIERS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
# Start of the names of weights in peft's files.
_START = "base_model.model."
# Options that do not change the weights.
_NO_WEIGHTS = ("base_model_name_or_path", "inference_mode", "peft_version", "revision")


@dataclass(frozen=True)
class Adapter:
    """An adapter whose files have been checked.

    Attributes:
        file: the adapter's weights.
        options: the content of adapter_config.json.
    """

    folder: Path
    file: Path
    options: Mapping[str, Any]

    @property
    def base(self) -> str | None:
        """The reference of the base that the options name; None where it lies in the folder.

        Raises:
            ModelError: they name none.
        """
        if (self.folder / CONFIG_NAME).is_file():
            return None
        base = self.options.get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            raise ModelError(f"{self._config} names no base: base_model_name_or_path is missing")
        return base

    @property
    def revision(self) -> str | None:
        """The commit of a base on the hub."""
        revision = self.options.get("revision")
        if revision is not None and not isinstance(revision, str):
            raise ModelError(f"{self._config}: revision is no commit")
        return revision

    @property
    def is_pickled(self) -> bool:
        """Whether opening the weights could run code."""
        return self.file.suffix != SAFE

    def sha256(self, base: str) -> str:
        """SHA-256 over the weights of base and adapter and over the adapter's options.

        Args:
            base: the digest of the base's weights.
        """
        lines = (f"{base}  base", *self._lines())
        return _digest("".join(f"{line}\n" for line in lines))

    @property
    def own_sha256(self) -> str:
        """The same without the base."""
        return _digest("".join(f"{line}\n" for line in self._lines()))

    def _lines(self) -> tuple[str, str]:
        options = {name: value for name, value in self.options.items() if name not in _NO_WEIGHTS}
        text = json.dumps(options, sort_keys=True)
        return (
            f"{sha256([self.file])}  {self.file.name}",
            f"{_digest(text)}  {ADAPTER_CONFIG_NAME}",
        )

    @property
    def kind(self) -> Any:
        """The class of transformers that the adapter was trained on."""
        task = self.options.get("task_type")
        if task is not None:
            return _KINDS[task]
        named = (self.options.get("auto_mapping") or {}).get("base_model_class")
        if named is None:
            return AutoModel
        kind = getattr(transformers, str(named), None)
        if not (isinstance(kind, type) and issubclass(kind, PreTrainedModel)):
            raise ModelError(f"{self._config} is for {named}, which is no model of transformers")
        return kind

    @property
    def _config(self) -> Path:
        return self.folder / ADAPTER_CONFIG_NAME

    def merged_into(self, network: PreTrainedModel) -> PreTrainedModel:
        """The network with the adapter merged into its weights; the given network is used up.

        Args:
            network: of the class `kind`, in float32.

        Raises:
            ModelError: the adapter does not fit the network, or peft cannot merge it.
        """
        try:
            # Inside: a release of peft that does not fit transformers fails when it is imported.
            from peft import PeftConfig, get_peft_model
            from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

            config = PeftConfig.from_pretrained(str(self.folder))
            self._check_options(config.to_dict())
            config.inference_mode = True
            body = network.base_model_prefix
            inside = f"{_START}{body}." if hasattr(network, body) else _START
            given = self._weights()
            self._check_tied(network, given)
            wrapped: Any = get_peft_model(network, config)
            weights = self._fitting(
                given,
                needed=get_peft_model_state_dict(wrapped, save_embedding_layers=False),
                # Some files repeat the embeddings of the base.
                known=get_peft_model_state_dict(wrapped, save_embedding_layers=True),
                inside=inside,
            )
            set_peft_model_state_dict(wrapped, weights)
            merged: PreTrainedModel = wrapped.merge_and_unload(safe_merge=True).eval()
        except ModelError:
            raise
        except Exception as error:  # a stranger's files can make the parsers raise anything
            raise ModelError(
                f"the adapter {self.folder} cannot be applied: {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error
        return merged

    def _check_options(self, known: Mapping[str, Any]) -> None:
        unknown = [name for name, value in self.options.items() if value and name not in known]
        if unknown:
            raise ModelError(
                f"{self._config} has options that the installed peft does not know: "
                f"{', '.join(sorted(unknown))}; install a newer one"
            )

    def _weights(self) -> dict[str, torch.Tensor]:
        if not self.is_pickled:
            return load_file(self.file)
        found: dict[str, torch.Tensor] = torch.load(
            self.file, map_location="cpu", weights_only=True
        )
        return found

    def _check_tied(self, network: PreTrainedModel, weights: Mapping[str, torch.Tensor]) -> None:
        """Raises ModelError where embeddings that the head shares would change with it."""
        parts = [network.get_input_embeddings(), network.get_output_embeddings()]
        if None in parts or parts[0].weight is not parts[1].weight:
            return
        for name, module in network.named_modules():
            if module in parts and any(key.startswith(f"{_START}{name}.") for key in weights):
                raise ModelError(
                    f"the adapter {self.folder} changes {name}, which in its base shares its "
                    "weights with another part, so it cannot be merged"
                )

    def _fitting(
        self,
        weights: Mapping[str, torch.Tensor],
        *,
        needed: Mapping[str, torch.Tensor],
        known: Mapping[str, torch.Tensor],
        inside: str,
    ) -> dict[str, torch.Tensor]:
        """The weights that fit into the network. Only heads of classifiers may be left out.

        Args:
            needed, known: weights that the file must have, and that it may have.
            inside: start of the names of weights that do not belong to a head.
        """
        taken = {
            name: weight
            for name, weight in weights.items()
            if name in known and known[name].shape == weight.shape
        }
        odd = sorted(
            name
            for name in weights.keys() | needed.keys()
            if name not in taken
            and (name.startswith(inside) or self.options.get("task_type") not in _CLASSIFIERS)
        )
        if odd:
            raise ModelError(
                f"the adapter {self.folder} does not fit its base: {len(odd)} weights have no "
                f"counterpart, such as {odd[0]}"
            )
        return taken


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def has_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, by its configuration."""
    return (folder / ADAPTER_CONFIG_NAME).is_file()


def find_adapter(folder: Path, *, allow_pickle: bool) -> Adapter | None:
    """The adapter in a folder, which may hold its base as well; None where there is none.

    Raises:
        ModelError: peft is missing, or the adapter cannot be applied or opened safely.
    """
    if not has_adapter(folder):
        return None
    path = folder / ADAPTER_CONFIG_NAME
    options = read_json_object(path)
    require(
        "peft",
        f"{folder} holds an adapter, which",
        "; to measure its base alone, give the base without it",
    )
    merge = "merge it into its base, as by peft's merge_and_unload, and give the merged model"
    if (kind := options.get("peft_type")) not in TYPES:
        raise ModelError(
            f"{path}: adapters of type {kind} are not read, only {' and '.join(TYPES)}; {merge}"
        )
    if options.get("layer_replication"):
        raise ModelError(
            f"{path}: layer_replication makes a network with more layers than its base, which is "
            f"not read; {merge}"
        )
    if (task := options.get("task_type")) is not None and task not in _KINDS:
        raise ModelError(f"{path}: adapters for the task {task} are not read")
    file = folder / ADAPTER_SAFE_WEIGHTS_NAME
    if not file.is_file() and (folder / ADAPTER_WEIGHTS_NAME).is_file():
        file = folder / ADAPTER_WEIGHTS_NAME
    check_safe(file, allow_pickle=allow_pickle)
    return Adapter(folder, file, options)
