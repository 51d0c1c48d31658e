"""Probes in Python, for what a case file cannot say: one model, the same rules, plain asserts."""

import pytest


@pytest.mark.parametrize(
    ("text", "subject", "attractor"),
    [
        ("The keys near the cabinet are old.", "keys", "cabinet"),
        ("Near the cabinet the keys are old.", "keys", "cabinet"),
        ("The letters from the lawyer are missing.", "letters", "lawyer"),
        ("Above the table the lamps are bright.", "lamps", "table"),
    ],
)
def test_a_verb_follows_its_subject_in_both_orders(attn, text, subject, attractor):
    attn(text).attends("are", subject, over=attractor, heads="L3H1", min=0.3)


@pytest.mark.parametrize(
    ("woman", "man"), [("Mary", "John"), ("Emma", "Robert"), ("Alice", "Henry")]
)
def test_swapping_two_names_moves_the_attention_with_them(attn, woman, man):
    """The weight follows the name, not the place: a claim about two texts at once."""
    first = attn(f"{woman} phoned {man} because she was bored.")
    second = attn(f"{man} phoned {woman} because she was bored.")

    for reading in (first, second):
        of_she = reading.words_matrix("L1H3")[reading.words.index("she")]
        assert of_she[reading.words.index(woman)] > 2 * of_she[reading.words.index(man)]

    # The place that loses the woman's name loses most of its weight.
    place = first.words.index(woman)
    before = first.words_matrix("L1H3")[first.words.index("she"), place]
    after = second.words_matrix("L1H3")[second.words.index("she"), place]
    assert after < before / 2


def test_one_word_at_the_end_moves_what_it_looks_at(attn):
    """The puddle is deep, the puppy is afraid: the difference of two maps has the right sign."""
    afraid = attn("The puppy avoided the puddle because it was afraid.")
    deep = attn("The puppy avoided the puddle because it was deep.")
    assert afraid.tokens[:9] == deep.tokens[:9]

    row = afraid.tokens.index("it")
    change = deep.weights("L3H1")[row] - afraid.weights("L3H1")[row]  # [source], tokens
    assert change[deep.tokens.index("puddle")] > 0.1
    assert change[deep.tokens.index("puppy")] < -0.1
