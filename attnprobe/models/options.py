"""How a model is to be loaded, as one value that commands, the plugin and the gate pass on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from attnprobe.core.names import BATCH_TOKENS


class LoadOptions(NamedTuple):
    """What `attnprobe.load` takes besides a reference and a name; it describes each of them."""

    tokenizer: str | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    device_map: str | None = None
    online: bool = False
    allow_pickle: bool = False
    ignore_remote_code: bool = False
    batch_tokens: int = BATCH_TOKENS
    check: bool = True
    source_language: str | None = None
    target_language: str | None = None

    def by_model(
        self, models: Iterable[str], values: Mapping[str, Mapping[str, str]]
    ) -> dict[str, LoadOptions]:
        """These options for each of some models, with what was given for that model alone.

        Args:
            models: their names.
            values: for an option, such as `source-language`, its value by the model's name.
        """
        found = {}
        for model in models:
            given: dict[str, Any] = {
                option.replace("-", "_"): by_name[model]
                for option, by_name in values.items()
                if model in by_name
            }
            found[model] = self._replace(**given)
        return found


def load_options_by_model(
    common: LoadOptions, models: Collection[str], given: Mapping[str, Sequence[str] | None]
) -> dict[str, LoadOptions]:
    """The load options of each model, by its name.

    Args:
        common: what holds for all of them.
        given: for an option of one model, such as `tokenizer`, its `[NAME=]VALUE` entries.

    Raises:
        AttnprobeError: as `values_by_model`.
    """
    from attnprobe.core.per_model import values_by_model

    values = {
        option: values_by_model(entries or (), models, option=f"--{option}")
        for option, entries in given.items()
    }
    return common.by_model(models, values)
