"""The languages that a multilingual tokenizer marks texts with, and the choice of one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from attnprobe.core.errors import ModelError
from attnprobe.core.texts import Sample
from attnprobe.core.wording import join_names
from attnprobe.models.tokens import special_tokens

LanguageKey = Literal["source_language", "target_language"]
# Their names in transformers.
_ATTRIBUTES: dict[LanguageKey, str] = {
    "source_language": "src_lang",
    "target_language": "tgt_lang",
}
_ROLES = ("bos", "eos", "sep", "cls", "unk", "pad", "mask")
# The languages that transformers falls back to where nobody names one.
_DEFAULTS = ("en_XX", "eng_Latn", "en")
# Codes that a message lists at most.
_MOST_CODES = 8


class Languages:
    """The languages of one tokenizer.

    Args:
        source, target: codes for samples that name none; they go before the tokenizer's own.
        name: of the model, for messages.

    Attributes:
        codes: of the languages that the tokenizer knows; empty where it marks none.
        stated: the language of texts, and of targets, that name none; None where the tokenizer has
            nothing but its default.

    Raises:
        ModelError: the tokenizer marks no language, or does not know a code.
    """

    def __init__(
        self, tokenizer: Any, *, name: str, source: str | None = None, target: str | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._name = name
        self.codes = _codes(tokenizer)
        given: dict[LanguageKey, str | None] = {
            "source_language": source,
            "target_language": target,
        }
        self.stated = {key: code or self._stated(key) for key, code in given.items()}
        for key, code in given.items():
            if code is not None:
                self._check(code, key)

    def _stated(self, key: LanguageKey) -> str | None:
        if not self.codes:
            return None
        attribute = _ATTRIBUTES[key]
        found: str | None = getattr(self._tokenizer, attribute)
        # A tokenizer that was saved without a language has the default in its file, and one that
        # has read a target has the source's language for it. A tokenizer that names the language of
        # targets means that of sources as well.
        source, target = self._tokenizer.src_lang, self._tokenizer.tgt_lang
        is_named = self._tokenizer.init_kwargs.get("tgt_lang") or target not in (None, source)
        return found if found not in _DEFAULTS or is_named else None

    def of(self, sample: Sample, key: LanguageKey) -> str | None:
        """The language of a sample's text or target; None where the tokenizer marks none.

        Raises:
            ModelError: the tokenizer needs a language and none is named, or it does not know it.
        """
        given: str | None = getattr(sample, key)
        if given is not None:
            self._check(given, key)
            return given
        found = self.stated[key]
        if self.codes and found is None:
            option = key.replace("_", "-")
            raise ModelError(
                f"the tokenizer of {self._name} marks texts with their language, and no "
                f"{_words(key)} is named; write {key}: in the case or under defaults:, or give "
                f"--attn-{option} (pytest) or --{option} (attnprobe), such as {self.codes[0]}"
            )
        return found

    @contextmanager
    def reading(self, key: LanguageKey, code: str | None) -> Iterator[None]:
        """Runs a block in which the tokenizer reads texts, or targets, in a language."""
        if code is None:
            yield
            return
        attribute = _ATTRIBUTES[key]
        before = getattr(self._tokenizer, attribute)
        setattr(self._tokenizer, attribute, code)
        try:
            yield
        finally:
            setattr(self._tokenizer, attribute, before)

    def _check(self, code: str, key: LanguageKey) -> None:
        if not self.codes:
            raise ModelError(
                f"the tokenizer of {self._name} marks no language, so {key} {code!r} would change "
                "nothing; leave it out"
            )
        if code not in self.codes:
            near = difflib.get_close_matches(code, self.codes, n=_MOST_CODES, cutoff=0.4)
            raise ModelError(
                f"the tokenizer of {self._name} knows no {_words(key)} {code!r}; "
                f"{'near it' if near else 'it knows'}: "
                f"{join_names(near or self.codes, _MOST_CODES)}"
            )


def _codes(tokenizer: Any) -> tuple[str, ...]:
    # The method of transformers' tokenizers for NLLB, mBART, mBART-50 and M2M100.
    if not hasattr(tokenizer, "set_src_lang_special_tokens"):
        return ()
    table: dict[str, int] | None = getattr(tokenizer, "lang_code_to_id", None)
    if table is not None:
        return tuple(code for code, token in table.items() if token != tokenizer.unk_token_id)
    # NLLB has no table: its codes are the special tokens without a role.
    roles = {getattr(tokenizer, f"{role}_token", None) for role in _ROLES}
    return tuple(token for token in special_tokens(tokenizer).values() if token not in roles)


def _words(key: LanguageKey) -> str:
    return key.replace("_", " ")
