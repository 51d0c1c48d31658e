"""Case files that ask for much work: each kind grows with a number.

A kind yields the text of a file of about `size` characters that makes one part of the reader work:
many values, a template that unfolds, a word to look for in a long text, a message that quotes much.
"""

from __future__ import annotations

import json
from collections.abc import Callable

START = "version: 1\nsuite: s\ndefaults: {heads: L0H0}\n"
CASES = START + "cases:\n"
SAYS = "attends: {from: bark, to: dogs, min: 0.5}"
EXPECT = f"expect: [{{{SAYS}}}]"
TEXT = "the dogs bark"

Kind = Callable[[int], str]
KINDS: dict[str, Kind] = {}


def kind(make: Kind) -> Kind:
    KINDS[make.__name__] = make
    return make


def filled(pattern: str, size: int, between: str = "") -> str:
    """So many copies of a pattern, `#` being their number, that they take `size` characters."""
    least = len(pattern) + len(between) + 4
    return between.join(pattern.replace("#", str(at)) for at in range(max(size // least, 2)))


def case(body: str, *, id: str = "a") -> str:
    return f"{CASES}  - {{id: {id}, {body}}}\n"


def text_case(text: str, says: str) -> str:
    return case(f"text: {json.dumps(text, ensure_ascii=False)}, expect: [{{{says}}}]")


def rules_case(rules: str, text: str = TEXT) -> str:
    return case(f"text: {json.dumps(text)}, expect: [{rules}]")


# What a small file unfolds to --------------------------------------------------------------------


@kind
def repeat(size: int) -> str:
    return case(f"ids: [5, 6], repeat: {size}000, expect: [{{induction: {{min: 0.5}}}}]")


@kind
def repeat_of_many_ids(size: int) -> str:
    ids = filled("1#", size, ", ")
    return case(f"ids: [{ids}], repeat: {size}, expect: [{{induction: {{min: 0.5}}}}]")


@kind
def repeat_with_many_digits(size: int) -> str:
    return case(f"ids: [5], repeat: {'9' * 90}, expect: [{{induction: {{min: 0.5}}}}]")


@kind
def many_cases_that_repeat(size: int) -> str:
    return CASES + filled(
        "  - {id: a#, ids: [5, 6], repeat: 60000, expect: [{induction: {min: 0.5}}]}\n", size
    )


@kind
def rows_of_a_long_template(size: int) -> str:
    rows = filled("{x: w#}", size // 2, ", ")
    return case(
        f"template: '{{x}} {'the dog barks ' * (size // 28)}', rows: [{rows}], expect: ["
        "{attends: {from: dogs, to: '{x}', min: 0.5}}]"
    )


@kind
def rows_of_a_long_template_that_pass(size: int) -> str:
    rows = filled("{x: w#}", size // 2, ", ")
    return case(
        f"template: '{{x}} bark {'the dog is old ' * (size // 30)}', rows: [{rows}], "
        "expect: [{attends: {from: bark, to: '{x}', min: 0.5}}]"
    )


@kind
def rows_of_a_long_pair(size: int) -> str:
    rows = filled("{x: w#}", size // 2, ", ")
    return case(
        f"template: '{{x}} bark', text_pair: '{'the dog is old ' * (size // 30)}', "
        f"rows: [{rows}], expect: [{{attends: {{from: bark, to: '{{x}}', min: 0.5}}}}]"
    )


@kind
def rows_of_a_long_target(size: int) -> str:
    rows = filled("{x: w#}", size // 2, ", ")
    return case(
        f"template: '{{x}} bark', target: '{'the dog is old ' * (size // 30)}', "
        f"rows: [{rows}], "
        "expect: [{attends: {from: bark, to: '{x}', min: 0.5, site: encoder}}]"
    )


@kind
def rows_with_many_expectations(size: int) -> str:
    rows = filled("{x: w#}", size // 2, ", ")
    says = filled("{attends: {from: bark, to: '{x}', min: 0.5}}", size // 2, ", ")
    return case(f"template: '{{x}} bark', rows: [{rows}], expect: [{says}]")


@kind
def rows_with_a_long_selector(size: int) -> str:
    rows = filled("{x: w#}", size // 2, ", ")
    words = filled("'{x}'", size // 2, ", ")
    return case(
        f"template: '{{x}} bark', rows: [{rows}], "
        f"expect: [{{attends: {{from: bark, to: [{words}], min: 0.5}}}}]"
    )


@kind
def a_column_used_many_times(size: int) -> str:
    rows = f"{{x: {'dog ' * (size // 8)}}}"
    return case(
        f"template: 'bark {'{x}' * (size // 6)}', rows: [{rows}], expect: [{{sink: {{min: 0.5}}}}]"
    )


@kind
def a_column_in_many_selectors(size: int) -> str:
    says = filled("{attends: {from: bark, to: '{x}', min: 0.5}}", size // 2, ", ")
    return case(f"template: '{{x}} bark', rows: [{{x: {'dog ' * (size // 8)}}}], expect: [{says}]")


@kind
def defaults_in_many_expectations(size: int) -> str:
    heads = filled("L0H#", size // 2, ", ")
    says = filled("{sink: {min: 0.5}}", size // 2, ", ")
    return (
        f"version: 1\nsuite: s\ndefaults: {{heads: [{heads}]}}\ncases:\n"
        f"  - {{id: a, text: {TEXT}, expect: [{says}]}}\n"
    )


@kind
def marks_of_the_file_in_many_cases(size: int) -> str:
    marks = filled("m#", size // 2, ", ")
    return f"{START}marks: [{marks}]\ncases:\n" + filled(
        f"  - {{id: a#, text: {TEXT}, {EXPECT}}}\n", size // 2
    )


@kind
def long_defaults_in_many_cases(size: int) -> str:
    return (
        f"version: 1\nsuite: s\ndefaults: {{heads: L0H0, source_language: {'x' * (size // 2)}}}"
        "\ncases:\n" + filled(f"  - {{id: a#, text: {TEXT}, {EXPECT}}}\n", size // 2)
    )


# What a file really holds ------------------------------------------------------------------------


@kind
def many_cases(size: int) -> str:
    return CASES + filled(f"  - {{id: a#, text: {TEXT}, {EXPECT}}}\n", size)


@kind
def many_cases_with_own_texts(size: int) -> str:
    return CASES + filled(f"  - {{id: a#, text: {TEXT} number #, {EXPECT}}}\n", size)


@kind
def many_rows(size: int) -> str:
    rows = filled("{x: w#}", size, ", ")
    return case(
        f"template: '{{x}} bark', rows: [{rows}], "
        "expect: [{attends: {from: bark, to: '{x}', min: 0.5}}]"
    )


@kind
def many_expectations(size: int) -> str:
    return rules_case(filled(f"{{{SAYS}}}", size, ", "))


@kind
def many_short_expectations(size: int) -> str:
    return rules_case(filled("{sink: {min: 0.5}}", size, ", "))


@kind
def many_ids(size: int) -> str:
    return case(f"ids: [{filled('1#', size, ', ')}], expect: [{{induction: {{min: 0.5}}}}]")


@kind
def many_empty_lists(size: int) -> str:
    return START + "cases: [" + "[]," * (size // 3) + "]\n"


@kind
def many_numbers(size: int) -> str:
    return START + "cases: [" + "1," * (size // 2) + "]\n"


@kind
def many_numbers_on_lines(size: int) -> str:
    return START + "cases:\n" + "- 1\n" * (size // 4)


@kind
def many_nothings(size: int) -> str:
    return START + "cases:\n" + "-\n" * (size // 2)


@kind
def many_empty_keys(size: int) -> str:
    return START + filled("k#:\n", size)


@kind
def many_unknown_keys(size: int) -> str:
    return START + filled("k#: 1\n", size) + "cases: []\n"


@kind
def many_unknown_keys_of_a_case(size: int) -> str:
    return case(f"text: {TEXT}, {EXPECT}, {filled('expec#: 1', size, ', ')}")


@kind
def many_unknown_keys_of_a_rule(size: int) -> str:
    return rules_case(f"{{attends: {{from: bark, to: dogs, {filled('mi#: 1', size, ', ')}}}}}")


@kind
def many_rules_in_an_entry(size: int) -> str:
    return rules_case(f"{{{filled('attends#: 1', size, ', ')}}}")


@kind
def many_rules_in_an_entry_beside_an_empty_one(size: int) -> str:
    return rules_case(f"{{attends: , {filled('k#: 1', size, ', ')}}}")


@kind
def many_empty_values_in_an_entry(size: int) -> str:
    return rules_case(f"{{attends: , {filled('k#: ', size, ', ')}}}")


@kind
def many_unknown_rules(size: int) -> str:
    return rules_case(filled("{attend#: {min: 0.5}}", size, ", "))


@kind
def many_empty_rules(size: int) -> str:
    return rules_case(filled("{attends: , from: #}", size, ", "))


@kind
def many_wrong_cases(size: int) -> str:
    return CASES + filled("  - {id: a#, txt: the dogs bark}\n", size)


@kind
def many_missing_words(size: int) -> str:
    return rules_case(filled("{attends: {from: bark, to: cat#, min: 0.5}}", size, ", "))


@kind
def one_missing_word_often(size: int) -> str:
    return CASES + filled(
        f"  - {{id: a#, text: {TEXT}, expect: [{{attends: {{from: bark, to: cat, min: 0.5}}}}]}}\n",
        size,
    )


@kind
def many_duplicate_ids(size: int) -> str:
    return CASES + filled(f"  - {{id: a, text: {TEXT} #, {EXPECT}}}\n", size)


@kind
def duplicates_of_a_long_id(size: int) -> str:
    return f"{CASES}  - {{id: {'a' * (size // 2)}, text: {TEXT}, {EXPECT}}}\n" * 2


@kind
def many_duplicate_rows(size: int) -> str:
    rows = filled("{x: dogs}", size, ", ")
    return case(
        f"template: '{{x}} bark', rows: [{rows}], "
        "expect: [{attends: {from: bark, to: '{x}', min: 0.5}}]"
    )


@kind
def many_suites(size: int) -> str:
    return START + filled("suite: s#\n", size)


@kind
def many_documents(size: int) -> str:
    return filled(f"---\n{START}", size)


@kind
def many_marks(size: int) -> str:
    return case(f"text: {TEXT}, {EXPECT}, marks: [{filled('m#', size, ', ')}]")


@kind
def many_wrong_marks(size: int) -> str:
    return case(f"text: {TEXT}, {EXPECT}, marks: [{filled('1m#', size, ', ')}]")


@kind
def a_long_mark(size: int) -> str:
    return case(f"text: {TEXT}, {EXPECT}, marks: [{'m' * size}]")


@kind
def a_wrong_long_mark(size: int) -> str:
    return case(f"text: {TEXT}, {EXPECT}, marks: ['{'m' * size} ']")


@kind
def a_long_id(size: int) -> str:
    return case(f"text: {TEXT}, {EXPECT}", id="a" * size)


@kind
def a_wrong_long_id(size: int) -> str:
    return case(f"text: {TEXT}, {EXPECT}", id=f"'{'a' * size} '")


@kind
def a_long_suite(size: int) -> str:
    return f"version: 1\nsuite: {'s' * size}\ncases:\n  - {{id: a, text: a b, {EXPECT}}}\n"


@kind
def a_long_reason(size: int) -> str:
    return case(f"text: {TEXT}, {EXPECT}, xfail: {'x' * size}")


@kind
def a_long_site(size: int) -> str:
    return rules_case(f"{{sink: {{min: 0.5, site: {'x' * size}}}}}")


@kind
def a_site_of_words(size: int) -> str:
    return rules_case(f"{{sink: {{min: 0.5, site: {'or, ' * (size // 4)}}}}}".replace(", o", " o"))


@kind
def a_long_number(size: int) -> str:
    return rules_case(f"{{sink: {{min: {'9' * size}}}}}")


@kind
def a_long_number_as_text(size: int) -> str:
    return rules_case(f"{{sink: {{min: '{'9' * size}'}}}}")


@kind
def a_long_sexagesimal_number(size: int) -> str:
    return START + f"about: {'1:' * (size // 2)}1\n"


@kind
def a_long_float(size: int) -> str:
    return START + f"about: 0.{'1' * size}\n"


@kind
def a_long_float_as_text(size: int) -> str:
    return START + f"abot: 1e-{'1' * size}\n"


@kind
def a_wrong_long_version(size: int) -> str:
    return f"version: '{'1' * size}'\nsuite: s\n"


@kind
def a_long_key(size: int) -> str:
    return START + f"? {'k' * (size // 2)}\n: 1\n? k{'k' * (size // 2)}\n: 1\n"


@kind
def a_long_key_near_a_known_one(size: int) -> str:
    return rules_case(f"{{attends: {{from: bark, to: dogs, ? '{'min' * (size // 3)}' : 1}}}}")


@kind
def an_empty_long_key(size: int) -> str:
    return START + f"? '{'k:' * (size // 2)}'\n:\n"


@kind
def a_long_rule(size: int) -> str:
    return rules_case(f"{{? {'attends' * (size // 7)} : {{min: 0.5}}}}")


@kind
def a_long_tag(size: int) -> str:
    return START + f"about: !{'t' * size} a\n"


@kind
def a_long_anchor(size: int) -> str:
    return START + f"about: &{'t' * size} a\n"


@kind
def aliases(size: int) -> str:
    return START + "a: &a [1, 2]\n" + filled("k#: [*a, *a]\n", size)


@kind
def deep_flow(size: int) -> str:
    return START + "cases: " + "[" * size + "\n"


@kind
def deep_flow_mappings(size: int) -> str:
    return START + "cases: " + "{a: " * (size // 4) + "\n"


@kind
def deep_lists(size: int) -> str:
    return START + "cases:\n" + "- " * (size // 2) + "1\n"


@kind
def deep_often(size: int) -> str:
    return START + "cases: [" + filled("[" * 58 + "]" * 58, size, ", ") + "]\n"


@kind
def deep_selectors_often(size: int) -> str:
    deep = "[" * 50 + "a" + "]" * 50
    return rules_case(filled(f"{{attends: {{from: {deep}, to: dogs, min: 0.5}}}}", size, ", "))


@kind
def deep_keys_often(size: int) -> str:
    return START + "cases: [" + filled("{aaaaaaaaaaaaaaaaa: " * 58 + "}" * 58, size, ", ") + "]\n"


@kind
def an_open_quote(size: int) -> str:
    return START + "about: '" + "a\n" * (size // 2)


@kind
def open_brackets(size: int) -> str:
    return START + "about: [" + "a, [" * (size // 4)


@kind
def a_long_comment(size: int) -> str:
    return START + f"# {'c' * size}\n" + case(f"text: {TEXT}, {EXPECT}").removeprefix(START)


@kind
def many_blank_lines(size: int) -> str:
    return START + "\n" * size + case(f"text: {TEXT}, {EXPECT}").removeprefix(START)


@kind
def many_escapes(size: int) -> str:
    return START + 'about: "' + "\\x41" * (size // 4) + '"\n'


@kind
def a_late_tab(size: int) -> str:
    return START + "# c\n" * (size // 4) + "\t"


# Words and texts ---------------------------------------------------------------------------------


def _long_text(size: int) -> str:
    return filled("word# is old", size, " ")


@kind
def a_long_text(size: int) -> str:
    return text_case(_long_text(size) + " " + TEXT, SAYS)


@kind
def a_missing_word(size: int) -> str:
    return text_case(_long_text(size), "attends: {from: sword, to: cat, min: 0.5}")


@kind
def many_missing_words_in_a_long_text(size: int) -> str:
    says = filled("{attends: {from: cat#, to: bird#, min: 0.5}}", size // 2, ", ")
    return rules_case(says, _long_text(size // 2))


@kind
def a_missing_word_of_each_row(size: int) -> str:
    rows = filled("{x: cat#}", size // 2, ", ")
    return case(
        f"template: '{'the dog is old ' * (size // 30)}', rows: [{rows}], expect: ["
        "{attends: {from: dog, to: '{x}', min: 0.5}}]"
    )


@kind
def a_missing_phrase(size: int) -> str:
    phrase = filled("ward#", size // 2, " ")
    return text_case(
        filled("word#", size // 2, " "), f"attends: {{from: {phrase}, to: a, min: 0.5}}"
    )


@kind
def a_missing_phrase_of_one_letter(size: int) -> str:
    return text_case(
        "a " * (size // 2), f"attends: {{from: {'a ' * (size // 8)}b, to: a, min: 0.5}}"
    )


@kind
def a_missing_long_word(size: int) -> str:
    return text_case("a" * (size // 2), f"attends: {{from: {'ab' * (size // 4)}, to: a, min: 0.5}}")


@kind
def a_word_within_a_long_word(size: int) -> str:
    return text_case("a" * size, "attends: {from: aa, to: ab, min: 0.5}")


@kind
def a_long_word_within_a_longer_one(size: int) -> str:
    half = size // 3
    return text_case("a" * 2 * half, f"attends: {{from: {'a' * half}, to: ab, min: 0.5}}")


@kind
def a_word_that_stands_often(size: int) -> str:
    return text_case("dogs bark " * (size // 10), SAYS)


@kind
def a_letter_that_stands_often(size: int) -> str:
    return text_case("a " * (size // 2), "attends: {from: a, to: a, min: 0.5}")


@kind
def a_phrase_that_overlaps_itself(size: int) -> str:
    return text_case(
        "a " * (size // 2), f"attends: {{from: {'a ' * (size // 16)}a, to: a, min: 0.5}}"
    )


@kind
def many_words_that_stand_often(size: int) -> str:
    says = filled(
        "{attends: {from: {word: a, nth: #1}, to: {word: a, nth: 1#}, min: 0.5}}", size // 2, ", "
    )
    return rules_case(says, "a " * (size // 4))


@kind
def a_huge_nth(size: int) -> str:
    return text_case(
        f"{TEXT} " * (size // 14),
        f"attends: {{from: {{word: bark, nth: {'9' * 90}}}, to: dogs, min: 0.5}}",
    )


@kind
def characters_beyond_the_end(size: int) -> str:
    return rules_case(
        filled(
            f"{{attends: {{from: {{chars: [1, 1#{'0' * 80}]}}, to: dogs, min: 0.5}}}}", size, ", "
        )
    )


@kind
def characters_of_spaces(size: int) -> str:
    says = filled(
        "{attends: {from: {chars: [5, 1000]}, to: {chars: [5, 100#]}, min: 0.5}}", size // 2, ", "
    )
    return rules_case(says, f"bark{' ' * (size // 2)}dogs")


@kind
def words_that_look_alike(size: int) -> str:
    return text_case("café " * (size // 5), "attends: {from: cafe\u0301, to: bark, min: 0.5}")


@kind
def a_long_word_that_looks_alike(size: int) -> str:
    other = "e\u0301" * (size // 4)
    return text_case("é" * (size // 4), f"attends: {{from: {other}, to: bark, min: 0.5}}")


@kind
def invisible_characters(size: int) -> str:
    return text_case(TEXT + "\\u200b" * (size // 6), SAYS).replace("\\\\u", "\\u")


@kind
def a_phrase_of_invisible_characters(size: int) -> str:
    return text_case(TEXT, 'attends: {from: "' + "\\u200b" * (size // 6) + '", to: bark, min: 0.5}')


@kind
def many_marks_on_a_letter(size: int) -> str:
    return text_case("a" + "\u0301" * (size // 2), "attends: {from: a, to: b, min: 0.5}")


@kind
def scripts_without_spaces(size: int) -> str:
    return text_case("漢字" * (size // 6), "attends: {from: 漢字, to: 字字, min: 0.5}")


@kind
def joined_letters(size: int) -> str:
    return text_case("a-" * (size // 2), "attends: {from: a, to: b, min: 0.5}")


@kind
def joiners(size: int) -> str:
    return text_case("a" + "-" * size, "attends: {from: a, to: b, min: 0.5}")


@kind
def spaces(size: int) -> str:
    return text_case("a" + " " * size + "b", "attends: {from: a, to: c, min: 0.5}")


@kind
def many_words_in_a_selector(size: int) -> str:
    return rules_case(f"{{attends: {{from: bark, to: [{filled('dogs', size, ', ')}], min: 0.5}}}}")


@kind
def many_words_in_over(size: int) -> str:
    return rules_case(
        f"{{attends: {{from: bark, to: dogs, over: [{filled('the', size, ', ')}], min: 0.5}}}}"
    )


@kind
def many_missing_words_in_a_selector(size: int) -> str:
    return rules_case(f"{{attends: {{from: bark, to: [{filled('cat#', size, ', ')}], min: 0.5}}}}")


@kind
def over_is_a_long_to(size: int) -> str:
    words = filled("the", size // 2, ", ")
    return rules_case(f"{{attends: {{from: bark, to: [{words}], over: [{words}], min: 0.5}}}}")


@kind
def a_selector_that_is_no_word(size: int) -> str:
    return rules_case(f"{{attends: {{from: bark, to: {{word: [{filled('#', size, ', ')}]}}}}}}")


@kind
def a_long_unknown_special(size: int) -> str:
    return rules_case(
        f"{{attends: {{from: bark, to: {{special: {'cls' * (size // 3)}}}, min: 0.5}}}}"
    )


@kind
def many_keys_in_a_selector(size: int) -> str:
    keys = filled("wrd#: 1", size, ", ")
    return rules_case(f"{{attends: {{from: bark, to: {{word: dogs, {keys}}}, min: 0.5}}}}")


@kind
def chars_of_many_numbers(size: int) -> str:
    return rules_case(
        f"{{attends: {{from: bark, to: {{chars: [{filled('#', size, ', ')}]}}, min: 0.5}}}}"
    )


# Columns -----------------------------------------------------------------------------------------


@kind
def many_columns(size: int) -> str:
    row = filled("column#: dogs", size // 2, ", ")
    template = filled("{column#}", size // 4, " ")
    return case(f"template: '{template} bark', rows: [{{{row}}}], expect: [{{sink: {{min: 0.5}}}}]")


@kind
def many_near_columns(size: int) -> str:
    row = filled("column#: dogs", size // 2, ", ")
    template = filled("{colum#x}", size // 2, " ")
    return case(f"template: '{template} bark', rows: [{{{row}}}], expect: [{{sink: {{min: 0.5}}}}]")


@kind
def hundreds_of_columns_with_a_near_name(size: int) -> str:
    row = ", ".join(f"column{at}: dogs" for at in range(300))
    template = filled("{colum#x}", size // 2, " ")
    return case(f"template: '{template} bark', rows: [{{{row}}}], expect: [{{sink: {{min: 0.5}}}}]")


@kind
def a_missing_column_of_many_rows(size: int) -> str:
    row = ", ".join(f"column{at}: dogs" for at in range(40))
    rows = filled(f"{{x: w#, {row}}}", size, ", ")
    return case(f"template: '{{colun}} bark', rows: [{rows}], expect: [{{sink: {{min: 0.5}}}}]")


@kind
def a_long_missing_column(size: int) -> str:
    return case(
        f"template: '{{{'x' * size}}} bark', rows: [{{x: a}}], expect: [{{sink: {{min: 0.5}}}}]"
    )


@kind
def many_braces(size: int) -> str:
    return case(
        f"template: '{'} ' * (size // 2)}', rows: [{{x: a}}], expect: [{{sink: {{min: 0.5}}}}]"
    )


@kind
def open_braces(size: int) -> str:
    return case(
        f"template: '{'{' * (size // 2 * 2 + 1)}', rows: [{{x: a}}], "
        "expect: [{sink: {min: 0.5}}]"
    )


@kind
def unused_columns(size: int) -> str:
    rows = filled("column#: dogs", size, ", ")
    return case(f"template: 'dogs bark', rows: [{{{rows}}}], expect: [{{sink: {{min: 0.5}}}}]")


# Heads -------------------------------------------------------------------------------------------


@kind
def many_heads(size: int) -> str:
    return rules_case(f"{{sink: {{min: 0.5, heads: [{filled('L0H#', size, ', ')}]}}}}")


@kind
def many_wrong_heads(size: int) -> str:
    return rules_case(filled("{sink: {min: 0.5, heads: L#.H1}}", size, ", "))


@kind
def a_long_head(size: int) -> str:
    return rules_case(f"{{sink: {{min: 0.5, heads: {'L' * size}}}}}")


@kind
def a_long_head_set(size: int) -> str:
    return rules_case(f"{{sink: {{min: 0.5, heads: '@{'L' * size}'}}}}")


@kind
def a_mapping_as_head(size: int) -> str:
    return rules_case(f"{{sink: {{min: 0.5, heads: [{{{filled('k#: 1', size, ', ')}}}]}}}}")


@kind
def deep_heads(size: int) -> str:
    deep = "[" * 50 + filled("L0H#", size, ", ") + "]" * 50
    return rules_case(f"{{sink: {{min: 0.5, heads: {deep}}}}}")


@kind
def many_unknown_keys_of_heads(size: int) -> str:
    return rules_case(f"{{sink: {{min: 0.5, heads: {{in: L0, {filled('k#: 1', size, ', ')}}}}}}}")


# Relations ---------------------------------------------------------------------------------------


def relation(body: str) -> str:
    return START + f"relations:\n  - {{id: r, {body}, expect: {{accuracy: 0.5}}}}\n"


@kind
def many_relations(size: int) -> str:
    return (
        START
        + "relations:\n"
        + filled(
            "  - {id: r#, spans: [{text: dogs bark, from: dogs, to: bark}], "
            "expect: {accuracy: 0.5}}\n",
            size,
        )
    )


@kind
def many_relations_of_the_cases(size: int) -> str:
    return (
        CASES
        + filled(f"  - {{id: a#, text: {TEXT} #, {EXPECT}}}\n", size // 2)
        + "relations:\n"
        + filled("  - {id: r#, from_cases: all, expect: {accuracy: 0.5}}\n", size // 2)
    )


@kind
def a_relation_of_many_cases(size: int) -> str:
    half = size // 2
    return (
        CASES
        + filled(f"  - {{id: a#, text: {TEXT} #, {EXPECT}}}\n", half)
        + f"relations:\n  - {{id: r, from_cases: [{filled('a1', half, ', ')}], "
        "expect: {accuracy: 0.5}}\n"
    )


@kind
def a_relation_of_unknown_cases(size: int) -> str:
    half = size // 2
    return (
        CASES
        + filled(f"  - {{id: a#, text: {TEXT} #, {EXPECT}}}\n", half)
        + f"relations:\n  - {{id: r, from_cases: [{filled('b#', half, ', ')}], "
        "expect: {accuracy: 0.5}}\n"
    )


@kind
def many_arcs(size: int) -> str:
    return relation(f"spans: [{filled('{text: dogs bark, from: dogs, to: bark}', size, ', ')}]")


@kind
def many_arcs_with_own_texts(size: int) -> str:
    return relation(f"spans: [{filled('{text: dogs bark #, from: dogs, to: bark}', size, ', ')}]")


@kind
def many_arcs_with_candidates(size: int) -> str:
    candidates = filled("'#'", size // 2, ", ")
    text = filled("#", size // 2, " ")
    return relation(
        f"spans: [{{text: dogs bark {text}, from: dogs, to: bark, candidates: [{candidates}]}}]"
    )


@kind
def many_wrong_arcs(size: int) -> str:
    return relation(f"spans: [{filled('{text: dogs bark #, from: cat#, to: bark}', size, ', ')}]")


@kind
def arcs_of_two_texts(size: int) -> str:
    return relation(
        "spans: ["
        + filled("{text: dogs, text_pair: bark #, from: dogs, to: {pair: bark}}", size, ", ")
        + "]"
    )


@kind
def many_labels_of_a_corpus(size: int) -> str:
    return relation(f"from_corpus: {{conllu: a.conllu, deprel: [{filled('d#', size, ', ')}]}}")


@kind
def a_long_corpus(size: int) -> str:
    return relation(f"from_corpus: {{conllu: {'a' * size}.conllu, deprel: nsubj}}")


@kind
def a_corpus_with_a_nul(size: int) -> str:
    return relation('from_corpus: {conllu: "a\\0.conllu", deprel: nsubj}')


@kind
def many_bounds(size: int) -> str:
    return START + (
        "relations:\n  - {id: r, spans: [{text: dogs bark, from: dogs, to: bark}], "
        f"expect: {{{filled('accuracy#: 1', size, ', ')}}}}}\n"
    )
