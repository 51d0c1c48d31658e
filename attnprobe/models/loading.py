"""Loading: from a reference to a model whose attention has been checked."""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES
from transformers.utils import CONFIG_NAME
from transformers.utils import logging as transformers_logging

from attnprobe.core.errors import ModelError, first_line
from attnprobe.core.names import BATCH_TOKENS, NO_PICKLE, PACKAGE, short_name, split_adapter
from attnprobe.core.registry import did_you_mean
from attnprobe.models.adapters import Adapter, find_adapter, has_adapter
from attnprobe.models.extras import require
from attnprobe.models.files import Weights, find_weights, read_json_object, sha256
from attnprobe.models.gguf import quantised_in, unpacked
from attnprobe.models.handed_over import check_takes_text, named_class
from attnprobe.models.location import (
    ModelLocation,
    has_tokenizer,
    locate,
    locate_adapter,
    locate_tokenizer,
    sentencepiece_file,
    tokenizer_files,
)
from attnprobe.models.memory import enough_memory, is_out_of_memory
from attnprobe.models.model import Model, Origin
from attnprobe.models.options import LoadOptions
from attnprobe.models.panics import panics_as_errors
from attnprobe.models.placement import is_offloaded
from attnprobe.models.quantised import (
    check_library,
    check_quantiser,
    compute_in,
    describe_quantised,
)
from attnprobe.models.remote_code import NETWORK_FILES, TOKENIZER_FILES, check_remote_code
from attnprobe.models.vocabulary import NAME_ANOTHER
from attnprobe.results.records import WeightsFormat

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_COMMIT = re.compile("[0-9a-f]{40}")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
# More than any network has.
MOST_LAYERS = 10_000

from_network = Model.of


def load(
    ref: str | os.PathLike[str],
    *,
    name: str | None = None,
    tokenizer: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    device_map: str | None = None,
    online: bool = False,
    allow_pickle: bool = False,
    ignore_remote_code: bool = False,
    batch_tokens: int = BATCH_TOKENS,
    check: bool = True,
    source_language: str | None = None,
    target_language: str | None = None,
) -> Model:
    """Loads a model and compares its attention with its own eager weights.

    Args:
        ref: a folder, a `.gguf` file, `pkg://package/path` (weights inside an installed package,
            which is not imported), or a hub id; `base+adapter` puts an adapter on a base of
            your choice.
        name: of the model in results; by default the part of `ref` that says most.
        tokenizer: a reference like `ref` to the tokenizer, where it is not in the model's folder. A
            hub id is written with its commit, `org/name@COMMIT`.
        revision: commit of a hub id; must be given with `online`.
        device: as in torch, or `auto`: the GPU where there is one. `auto:3` is the fourth GPU, and
            starts over where there are fewer.
        dtype: float32, float16 or bfloat16.
        device_map: in place of `device`, for a model that fits no single one: `auto`, `balanced`,
            `balanced_low_0`, `sequential` or a device, as in transformers. It needs accelerate.
        online: whether the hub may be asked; otherwise a hub id must lie in the local cache.
        allow_pickle: whether pickled weights may be opened, which can run any code. Where the
            environment has `ATTNPROBE_NO_PICKLE`, as in a run of the gate, they never are.
        ignore_remote_code: whether a model that comes with code of its own is loaded without it,
            as the class that transformers has for its type; otherwise it is refused.
        batch_tokens: padded tokens that one forward may hold.
        check: whether one sentence is compared with eager attention.
        source_language, target_language: of texts and targets that name none, for a multilingual
            tokenizer, such as `eng_Latn`; by default those that the tokenizer's files name.

    Raises:
        ModelError: what is wrong with the reference, the files or the attention, and the way out.
    """
    options = LoadOptions(
        tokenizer=tokenizer,
        revision=revision,
        device=device,
        dtype=dtype,
        device_map=device_map,
        online=online,
        allow_pickle=allow_pickle,
        ignore_remote_code=ignore_remote_code,
        batch_tokens=batch_tokens,
        check=check,
        source_language=source_language,
        target_language=target_language,
    )
    return load_model(ref, options, name=name)


def load_model(
    ref: str | os.PathLike[str], options: LoadOptions, *, name: str | None = None
) -> Model:
    """The same as `load`, with its options as one value."""
    if isinstance(ref, os.PathLike):
        ref = os.fspath(ref)
    if not isinstance(ref, str):
        raise ModelError(
            f"attnprobe.load takes a reference, such as a folder or a hub id, and got a "
            f"{type(ref).__name__}; of a network in memory, attnprobe.from_network(network, "
            "tokenizer, name=...) makes a model"
        )
    if options.dtype not in DTYPES:
        raise ModelError(f"unknown dtype {options.dtype!r}; {did_you_mean(options.dtype, DTYPES)}")
    device = device_named(options.device)
    _check_device_map(options)
    if os.environ.get(NO_PICKLE):
        options = options._replace(allow_pickle=False)

    def build(kind: Any) -> PreTrainedModel:
        with _quiet(), enough_memory(str(ref), device):
            network: Any = _build(kind, source, DTYPES[options.dtype], options.device_map)
            placed: PreTrainedModel = network if options.device_map else network.to(device)
            return placed

    with _quiet():
        source, location = _open_ref(ref, options)
        if options.tokenizer is not None:
            words = locate_tokenizer(options.tokenizer, online=options.online)
        else:
            words = location if has_tokenizer(location) else source.location
        try:
            words_sha256 = sha256(tokenizer_files(words))
        except ModelError:
            # A model of pictures has no tokenizer, and none is to be named for it.
            check_takes_text(_network_of_files(build, source), name or short_name(ref))
            raise
        ignored = source.ignored_code
        if not words.is_gguf:
            ignored += check_remote_code(
                words.path, TOKENIZER_FILES, ignore=options.ignore_remote_code
            )
        if words is source.location:
            words_folder = source.weights.folder
        else:
            words_folder = unpacked(words.path, words_sha256) if words.is_gguf else words.path

        return Model(
            _network_of_files(build, source),
            load_tokenizer(words_folder),
            name=name or short_name(ref),
            origin=Origin(
                ref,
                source.sha256,
                words_sha256,
                revision=source.revision,
                weights_format=source.format,
                ignored_code=ignored,
                pool=location.pool or source.location.pool,
                base_sha256=source.base_sha256,
                adapter_sha256=source.adapter.own_sha256 if source.adapter else None,
                quantised=source.quantised and f"{source.quantised}, computed in {options.dtype}",
            ),
            options=options,
            load_head=build,
        )


def weights_of(ref: str, *, ignore_remote_code: bool = False) -> Weights:
    """The weights of a model as files of safetensors; a GGUF file is converted.

    Raises:
        ModelError: as `load`, or the model is pickled or an adapter.
    """
    with _quiet():
        source, _ = _open_ref(ref, LoadOptions(ignore_remote_code=ignore_remote_code))
    if source.adapter is not None:
        raise ModelError(
            f"{ref} holds an adapter, so its weights lie in no file; merge them, as by peft's "
            "merge_and_unload and save_pretrained, and give the merged model"
        )
    return source.weights


@dataclass(frozen=True)
class _Source:
    """The files that a network is loaded from.

    Attributes:
        location: the location of the weights; of an adapter that of its base.
        sha256, format: of the given files, hence of a GGUF file and not of its conversion.
        revision: the commit of a reference to the hub; of `base+adapter` that of the base.
        base_sha256: of the base alone, where there is an adapter.
        ignored_code: the files that name code of the model's own, which is not run.
        quantised: of a GGUF file, what of it is.
    """

    location: ModelLocation
    weights: Weights
    sha256: str
    format: WeightsFormat
    ignored_code: tuple[str, ...] = ()
    adapter: Adapter | None = None
    revision: str | None = None
    base_sha256: str | None = None
    quantised: str | None = None


def _open_ref(ref: str, options: LoadOptions) -> tuple[_Source, ModelLocation]:
    """The files of a reference, and its location; of `base+adapter` that of the adapter."""
    halves = split_adapter(ref)
    place = locate(
        halves[0] if halves else ref,
        revision=options.revision,
        online=options.online,
        allow_pickle=options.allow_pickle,
    )
    if halves is None:
        return replace(_open(place, None, options), revision=place.revision), place
    location = locate_adapter(halves[1], whole=ref)
    return replace(_open(location, place, options), revision=place.revision), location


def _open(location: ModelLocation, given: ModelLocation | None, options: LoadOptions) -> _Source:
    """The files of a location: its weights, or those of a base and its adapter.

    Args:
        given: the base, where the adapter's own is not to be taken.
    """
    try:
        adapter = None
        if not location.is_gguf:
            adapter = find_adapter(location.path, allow_pickle=options.allow_pickle)
        if adapter is None:
            return _open_weights(location, options)
        if given is not None:
            _check_base(adapter, given, str(given.path))
        elif adapter.base is not None:
            given = _base_location(adapter, options)
        base = _open_weights(given or location, options)
        if given is not None:
            code = check_remote_code(
                location.path, NETWORK_FILES, ignore=options.ignore_remote_code
            )
            base = replace(base, ignored_code=(*code, *base.ignored_code))
        return replace(
            base,
            sha256=adapter.sha256(base.sha256),
            format="pickle" if adapter.is_pickled else base.format,
            adapter=adapter,
            base_sha256=base.sha256,
        )
    except OSError as error:
        raise ModelError(f"{location.path} cannot be read: {error}") from error


def _check_base(adapter: Adapter, base: ModelLocation, ref: str) -> None:
    """Raises ModelError where a base holds an adapter itself."""
    if not base.is_gguf and has_adapter(base.path):
        raise ModelError(
            f"the base of the adapter {adapter.folder} is {ref}, which holds an adapter itself; "
            "merge that one into its base first"
        )


def _open_weights(location: ModelLocation, options: LoadOptions) -> _Source:
    if location.is_gguf:
        digest = sha256([location.path])
        folder = unpacked(location.path, digest)
        weights = find_weights(folder, allow_pickle=False)
        return _Source(location, weights, digest, "gguf", quantised=quantised_in(folder))
    code = check_remote_code(location.path, NETWORK_FILES, ignore=options.ignore_remote_code)
    weights = find_weights(location.path, allow_pickle=options.allow_pickle)
    return _Source(location, weights, sha256(weights.files), weights.format, code)


def _base_location(adapter: Adapter, options: LoadOptions) -> ModelLocation:
    """The location of an adapter's base.

    A relative path counts from the working directory, else from the adapter's folder.

    Raises:
        ModelError: there is no such place, or it holds an adapter itself.
    """
    ref = adapter.base or ""
    beside = adapter.folder / ref
    if not Path(ref).expanduser().exists() and beside.exists():
        ref = str(beside)
    path = Path(ref).expanduser()
    of_hub = not (path.exists() or ref.startswith((PACKAGE, ".")))
    pinned = adapter.revision is not None and _COMMIT.fullmatch(adapter.revision) is not None
    try:
        location = locate(
            ref,
            revision=adapter.revision,
            online=options.online and pinned,
            allow_pickle=options.allow_pickle,
        )
    except ModelError as error:
        way = "; a base of the hub is fetched by its commit alone: `revision` in its configuration"
        start = f"the base of the adapter {adapter.folder}: {error}"
        raise ModelError(
            f"{start}{way if options.online and of_hub and not pinned else ''}"
        ) from error
    _check_base(adapter, location, ref)
    return location


def _build(
    kind: Any, source: _Source, dtype: torch.dtype, device_map: str | None
) -> PreTrainedModel:
    """The network as one of transformers' `AutoModel…` classes, with its adapter merged."""
    if source.adapter is None:
        return _network(kind, source.weights, dtype, device_map=device_map)
    if device_map is not None:
        raise ModelError(
            f"{source.adapter.folder} is an adapter, which a device map leaves unmerged; merge it "
            "into its base, as by peft's merge_and_unload and save_pretrained"
        )
    # Merged in float32 whatever the number type, so that numbers are rounded once, at the end.
    trained = _network(source.adapter.kind, source.weights, torch.float32, with_head=False)
    if describe_quantised(trained) is not None:
        raise ModelError(
            f"{source.adapter.folder} is an adapter of a quantised base, which a merge would round "
            "again; hand over the model of peft, unmerged: attnprobe.from_network"
        )
    merged = source.adapter.merged_into(trained)
    same = kind is source.adapter.kind
    if same and dtype == torch.float32:
        return merged
    network = _network(kind, source.weights, dtype, with_head=not same)
    receiver, giver = (network, merged) if same else (network.base_model, merged.base_model)
    found = receiver.load_state_dict(giver.state_dict(), strict=False)
    absent = sorted(name for name in found.missing_keys if "pooler" not in name)
    if absent:
        raise ModelError(f"{source.adapter.folder} cannot be merged: {absent[0]} is left out")
    return network


def _network_of_files(build: Callable[[Any], PreTrainedModel], source: _Source) -> PreTrainedModel:
    """The network as AutoModel chooses its class, else as the class that its files name.

    AutoModel has no class for an EncoderDecoderModel, takes T5EncoderModel for a whole T5, and
    looks for the weights of LlamaForQuestionAnswering under other names.
    """
    config = source.weights.folder / CONFIG_NAME
    settings = read_json_object(config) if config.is_file() else {}
    kind = None if source.adapter else named_class(settings.get("architectures"))
    _check_layers(settings, config)
    check_library(settings, source.weights.folder)
    family = str(settings.get("model_type"))
    usual = MODEL_MAPPING_NAMES.get(family)
    if kind is None or family not in CONFIG_MAPPING or kind.__name__ == usual:
        return build(AutoModel)
    if usual is None:
        return build(kind)
    try:
        return build(AutoModel)
    except ModelError as error:
        try:
            return build(kind)
        except ModelError:
            raise error from None


def _check_layers(settings: Mapping[str, Any], config: Path) -> None:
    """Refuses a configuration with so many layers that building them would never end.

    Raises:
        ModelError: it announces more than MOST_LAYERS.
    """
    for name, value in settings.items():
        if isinstance(value, dict):
            _check_layers(value, config)
        elif "layers" in name and isinstance(value, int) and value > MOST_LAYERS:
            raise ModelError(
                f"{config}: {name} is {value:,}; no network has more than {MOST_LAYERS:,} layers"
            )


def device_named(device: str) -> torch.device:
    """The device of a name; `auto` takes a GPU where there is one."""
    kind, _, number = device.partition(":")
    if kind == "auto":
        count = torch.cuda.device_count()
        device = f"cuda:{int(number or 0) % count}" if count else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {device!r} cannot be used: {first_line(error)}") from None


def _check_device_map(options: LoadOptions) -> None:
    """Raises ModelError where a device map is unknown, or cannot be followed."""
    given = options.device_map
    if given is None:
        return
    if given not in DEVICE_MAPS:
        try:
            device_named(given)
        except ModelError:
            known = did_you_mean(given, DEVICE_MAPS)
            raise ModelError(
                f"device map {given!r} is neither known nor a device; {known}"
            ) from None
    if options.device != "auto":
        raise ModelError(
            f"the device {options.device!r} and the device map {given!r} exclude each other"
        )
    require("device-map", "a device map")


def _network(
    kind: Any,
    weights: Weights,
    dtype: torch.dtype,
    *,
    with_head: bool = True,
    device_map: str | None = None,
) -> PreTrainedModel:
    """The network of these weights as one of transformers' classes.

    Args:
        with_head: whether the weights of its head must be there as well.
    """
    folder = weights.folder
    with ExitStack() as files:
        stage = files.enter_context(weights.staged())
        try:
            network, info = kind.from_pretrained(
                stage,
                device_map=device_map,
                offload_folder=stage / "offload" if device_map else None,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                use_safetensors=True if weights.format == "safetensors" else None,
            )
        except Exception as error:  # a stranger's files can make the parsers raise anything
            if is_out_of_memory(error):
                raise
            reason = first_line(error).replace(str(stage), str(folder))
            raise ModelError(
                f"{folder} cannot be loaded: {type(error).__name__}: {reason}"
            ) from error
        if is_offloaded(network):
            # Weights are read from these files as long as the network is used.
            weakref.finalize(network, files.pop_all().close)
    check_quantiser(network, folder)
    compute_in(network, dtype)
    absent = [str(key) for key in (*info["missing_keys"], *info["mismatched_keys"])]
    # Marian computes its positions, so no file has them. Its code lists them under the names that
    # they have in the network with a head.
    computed = network._keys_to_ignore_on_load_missing or ()
    body = network.base_model_prefix
    absent = sorted(
        key
        for key in absent
        if "pooler" not in key
        and f"{body}.{key}" not in computed
        and (with_head or not hasattr(network, body) or key.startswith(f"{body}."))
    )
    if absent:
        raise ModelError(
            f"{len(absent)} weights are missing in {folder}, such as {absent[0]}; they would "
            "be random"
        )
    built: PreTrainedModel = network
    return built


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder.

    Raises:
        ModelError: it cannot be loaded, or needs packages that are not there.
    """
    # Without the packages transformers advises tiktoken, or makes up a vocabulary.
    if pieces := sentencepiece_file(folder):
        require(
            "sentencepiece",
            f"no tokenizer can be loaded from {folder}: {pieces.name} is of SentencePiece, which",
        )
    try:
        with panics_as_errors():
            return AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # as above
        raise ModelError(
            f"no tokenizer can be loaded from {folder}: {first_line(error)}; {NAME_ANOTHER}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Runs a block without log lines, warnings and progress bars."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        # transformers' own switch does not stop all bars: that of a GGUF file goes on.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
