"""English and French sentences of a small grammar, with the word alignment known by construction.

    from grammar import corpus
    training, held_out = corpus(training=40_000, held_out=1_000, seed=0)

What makes the order differ: adjectives before and after the noun ("the red house", "la maison
rouge"), adverbs ("often sees", "voit souvent"), negation in two words ("does not see", "ne voit
pas"). What makes the translation of a word depend on others: determiners and adjectives agree with
the noun, verbs with their subject, and "a" becomes "de" in the object of a negated verb.

Every French word comes from exactly one English word; of the English ones only "do" and "does"
have no French word. No word asks for elision (l', d', n'), so French words are split at spaces
like English ones.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = [
    "ADJECTIVES",
    "ADVERBS",
    "DETERMINERS",
    "NOUNS",
    "PREPOSITIONS",
    "UNALIGNED",
    "VERBS",
    "Phrase",
    "Sentence",
    "complement",
    "corpus",
    "noun_phrase",
    "prepositional",
    "sentence",
    "sentences",
    "verb_group",
    "vocabulary",
    "words",
]

UNALIGNED = frozenset({"do", "does"})
ALIVE = ("person", "animal")
KINDS = (*ALIVE, "thing", "place", "event")


@dataclass(frozen=True)
class Sentence:
    """A sentence and its translation.

    Attributes:
        alignment: pairs (source word, target word), one for each target word and in their order;
            numbers count in `words` of the text, from 0, the final "." included.
    """

    source: str
    target: str
    alignment: tuple[tuple[int, int], ...]


def words(text: str) -> list[str]:
    """The words and punctuation marks of a text."""
    return re.findall(r"\w+|[^\w\s]", text)


@dataclass(frozen=True)
class Noun:
    """`english` and `french` are (singular, plural)."""

    english: tuple[str, str]
    french: tuple[str, str]
    feminine: bool
    kind: str


@dataclass(frozen=True)
class Adjective:
    """`french` is (masculine, feminine, masculine plural, feminine plural)."""

    english: str
    french: tuple[str, str, str, str]
    before: bool
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Verb:
    """`english` and `french` are the third persons (singular, plural).

    Attributes:
        objects: kinds of nouns that it takes as an object.
        links: whether it takes an adjective instead, such as "seems".
    """

    english: tuple[str, str]
    french: tuple[str, str]
    objects: tuple[str, ...] = ()
    links: bool = False


@dataclass(frozen=True)
class Determiner:
    """`french` is (masculine, feminine, plural), "" where the number does not exist.

    Attributes:
        counts: whether it says how many; such objects are not negated.
    """

    english: str
    french: tuple[str, str, str]
    counts: bool = False


@dataclass(frozen=True)
class Preposition:
    english: str
    french: str
    kinds: tuple[str, ...]


def _s_form(word: str) -> str:
    """The plural of an English noun; a verb makes its third person in the same way."""
    if re.search(r"(s|x|ch|sh)$", word):
        return f"{word}es"
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}s"


def _french_plural(word: str) -> str:
    """The plural of a French noun or adjective."""
    if word.endswith(("s", "x")):
        return word
    if word.endswith("al"):
        return f"{word[:-2]}aux"
    return f"{word}x" if word.endswith("eau") else f"{word}s"


def _table(text: str) -> Iterator[list[str]]:
    """Entries are separated by commas; a form that follows no rule is given after a slash."""
    for entry in text.replace("\n", " ").split(","):
        yield entry.split()


def _forms(written: str, regular: str) -> tuple[str, str]:
    first, _, second = written.partition("/")
    return first, second or regular


def _nouns(kind: str, text: str) -> Iterator[Noun]:
    for english, french, gender in _table(text):
        yield Noun(
            _forms(english, _s_form(english)),
            (french, _french_plural(french)),
            gender == "f",
            kind,
        )


def _adjectives(place: str, kinds: tuple[str, ...], text: str) -> Iterator[Adjective]:
    for english, masculine, feminine in _table(text):
        forms = (masculine, feminine, _french_plural(masculine), _french_plural(feminine))
        yield Adjective(english, forms, place == "before", kinds)


def _verbs(text: str, *, objects: tuple[str, ...] = (), links: bool = False) -> Iterator[Verb]:
    for english, french in _table(text):
        plural, singular = _forms(english, _s_form(english))
        yield Verb((singular, plural), _forms(french, f"{french}nt"), objects, links)


NOUNS = {
    noun.english[0]: noun
    for group in (
        _nouns(
            "person",
            """doctor médecin m, woman/women femme f, boy garçon m, girl fille f, king roi m,
            queen reine f, baker boulanger m, teacher professeur m, judge juge m, sister sœur f,
            mother mère f, soldier soldat m, princess princesse f""",
        ),
        _nouns(
            "animal",
            """dog chien m, cat chat m, horse cheval m, cow vache f, mouse/mice souris f,
            wolf/wolves loup m, fox renard m, hen poule f, frog grenouille f""",
        ),
        _nouns(
            "thing",
            """table table f, chair chaise f, key clé f, book livre m, letter lettre f,
            hat chapeau m, knife/knives couteau m, car voiture f, boat bateau m, box boîte f,
            bottle bouteille f, flower fleur f, newspaper journal m, lamp lampe f""",
        ),
        _nouns(
            "place",
            """house maison f, garden jardin m, town ville f, castle château m, kitchen cuisine f,
            park parc m, street rue f""",
        ),
        _nouns("event", "meal repas m, concert concert m, storm tempête f, party fête f"),
    )
    for noun in group
}

ADJECTIVES = {
    adjective.english: adjective
    for group in (
        _adjectives(
            "before",
            KINDS,
            """big grand grande, small petit petite, beautiful beau belle, good bon bonne,
            bad mauvais mauvaise""",
        ),
        _adjectives("before", (*ALIVE, "thing", "place"), "old vieux vieille, pretty joli jolie"),
        _adjectives("before", ALIVE, "young jeune jeune"),
        _adjectives("before", ("thing", "place", "event"), "new nouveau nouvelle"),
        _adjectives(
            "after",
            (*ALIVE, "thing", "place"),
            "black noir noire, white blanc blanche, grey gris grise",
        ),
        _adjectives(
            "after",
            ("thing", "place"),
            """red rouge rouge, blue bleu bleue, green vert verte, yellow jaune jaune,
            empty vide vide, dry sec sèche""",
        ),
        _adjectives(
            "after", ("thing",), "heavy lourd lourde, broken cassé cassée, round rond ronde"
        ),
        _adjectives("after", ("place", "event"), "modern moderne moderne"),
        _adjectives(
            "after",
            ALIVE,
            """happy heureux heureuse, sad triste triste, tired fatigué fatiguée,
            strong fort forte, proud fier fière, sick malade malade, jealous jaloux jalouse,
            polite poli polie""",
        ),
    )
    for adjective in group
}

VERBS = {
    verb.english[1]: verb
    for group in (
        _verbs(
            """see voit/voient, watch regarde, find trouve, follow suit/suivent,
            know connaît/connaissent, touch touche, push pousse, draw dessine, hide cache,
            prefer préfère, choose choisit/choisissent, lose perd/perdent, protect protège,
            carry porte""",
            objects=(*ALIVE, "thing"),
        ),
        _verbs(
            "sell vend/vendent, break casse, take prend/prennent, throw jette, clean nettoie",
            objects=("thing",),
        ),
        _verbs("visit visite, leave quitte", objects=("place",)),
        _verbs(
            """sleep dort/dorment, sing chante, dance danse, fall tombe, laugh rit/rient,
            walk marche, work travaille, play joue"""
        ),
        _verbs("are/is est/sont, seem semble, remain reste, become devient/deviennent", links=True),
    )
    for verb in group
}

DETERMINERS = {
    english: Determiner(english, (masculine, feminine, plural), counts)
    for english, masculine, feminine, plural, counts in (
        ("the", "le", "la", "les", False),
        ("a", "un", "une", "", False),
        ("this", "ce", "cette", "", False),
        ("that", "ce", "cette", "", False),
        ("these", "", "", "ces", False),
        ("those", "", "", "ces", False),
        ("my", "mon", "ma", "mes", False),
        ("your", "ton", "ta", "tes", False),
        ("his", "son", "sa", "ses", False),
        ("her", "son", "sa", "ses", False),
        ("our", "notre", "notre", "nos", False),
        ("their", "leur", "leur", "leurs", False),
        ("every", "chaque", "chaque", "", True),
        ("some", "", "", "quelques", True),
        ("several", "", "", "plusieurs", True),
        ("two", "", "", "deux", True),
        ("three", "", "", "trois", True),
    )
}

PREPOSITIONS = {
    preposition.english: preposition
    for preposition in (
        Preposition("in", "dans", ("place",)),
        Preposition("toward", "vers", (*ALIVE, "place")),
        Preposition("behind", "derrière", (*ALIVE, "thing", "place")),
        Preposition("under", "sous", ("thing",)),
        Preposition("on", "sur", ("thing",)),
        Preposition("with", "avec", (*ALIVE, "thing")),
        Preposition("for", "pour", ("person",)),
        Preposition("before", "avant", ("event",)),
        Preposition("after", "après", ("event",)),
        Preposition("during", "pendant", ("event",)),
    )
}

ADVERBS = {"often": "souvent", "always": "toujours", "sometimes": "parfois", "rarely": "rarement"}
NEGATIONS = {"not": "pas", "never": "jamais"}


@dataclass(frozen=True, eq=False)
class _Word:
    """One English word in its place: two of the same spelling are not equal."""

    text: str


@dataclass(frozen=True)
class Phrase:
    """Part of a sentence: English words, and French words each with the English one it is from."""

    source: tuple[_Word, ...] = ()
    target: tuple[tuple[str, _Word], ...] = ()

    def __add__(self, other: Phrase) -> Phrase:
        return Phrase(self.source + other.source, self.target + other.target)


def _word(english: str, french: str) -> Phrase:
    word = _Word(english)
    return Phrase((word,), ((french, word),))


def _swapped(first: Phrase, second: Phrase) -> Phrase:
    """The first before the second in English, after it in French."""
    return Phrase(first.source + second.source, second.target + first.target)


def noun_phrase(
    determiner: str,
    noun: str,
    *,
    before: str | None = None,
    after: str | None = None,
    plural: bool = False,
    negated: bool = False,
) -> Phrase:
    """Such as "the big red houses", "les grandes maisons rouges".

    Args:
        determiner, noun: keys of `DETERMINERS` and `NOUNS`.
        before, after: keys of `ADJECTIVES` that stand before and after a French noun.
        negated: whether this is the object of a negated verb.
    """
    what = NOUNS[noun]
    column = 2 if plural else what.feminine
    article = DETERMINERS[determiner].french[column]
    if not article:
        raise ValueError(f"{determiner!r} has no {'plural' if plural else 'singular'}")
    head = _word(what.english[plural], what.french[plural])
    if after:
        head = _swapped(_agreeing(after, what, plural), head)
    if before:
        head = _agreeing(before, what, plural) + head
    return _word(determiner, "de" if negated and determiner == "a" else article) + head


def _agreeing(adjective: str, noun: Noun, plural: bool) -> Phrase:
    return _word(adjective, ADJECTIVES[adjective].french[noun.feminine + 2 * plural])


def complement(adjective: str, noun: str, *, plural: bool = False) -> Phrase:
    """The adjective after a linking verb; it agrees with the noun of the subject."""
    return _agreeing(adjective, NOUNS[noun], plural)


def prepositional(preposition: str, phrase: Phrase) -> Phrase:
    """Such as "behind the house", "derrière la maison"."""
    return _word(preposition, PREPOSITIONS[preposition].french) + phrase


def verb_group(verb: str, *, plural: bool = False, modifier: str | None = None) -> Phrase:
    """Such as "does not see", "ne voit pas".

    Args:
        verb: a key of `VERBS`, the plural form.
        modifier: "not", "never" or a key of `ADVERBS`.
    """
    english, french = VERBS[verb].english[plural], VERBS[verb].french[plural]
    if modifier is None:
        return _word(english, french)
    if modifier in ADVERBS:
        adverb = _word(modifier, ADVERBS[modifier])
        seen = _word(english, french)
        return seen + adverb if verb == "are" else _swapped(adverb, seen)
    if verb == "are":
        raise ValueError(f"{modifier!r} with {english!r} would ask for elision in French")
    negation = _Word(modifier)
    if modifier == "never":
        own = _Word(english)
        source: tuple[_Word, ...] = (negation, own)
    else:
        own = _Word(VERBS[verb].english[1])
        source = (_Word("do" if plural else "does"), negation, own)
    return Phrase(source, (("ne", negation), (french, own), (NEGATIONS[modifier], negation)))


def sentence(phrase: Phrase) -> Sentence:
    """The phrase with a capital letter and a full stop."""
    whole = phrase + _word(".", ".")
    position = {word: number for number, word in enumerate(whole.source)}
    return Sentence(
        _written([word.text for word in whole.source]),
        _written([text for text, _ in whole.target]),
        tuple((position[word], number) for number, (_, word) in enumerate(whole.target)),
    )


def _written(parts: Sequence[str]) -> str:
    text = " ".join(parts[:-1]) + parts[-1]
    return text[0].upper() + text[1:]


def sentences(seed: int) -> Iterator[Sentence]:
    """Sentences without end, no two with the same source."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while True:
        found = _any_sentence(rng)
        if found.source not in seen:
            seen.add(found.source)
            yield found


def corpus(*, training: int, held_out: int, seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """Training and held-out sentences, which share no source.

    The held-out ones come first from the stream, so they do not depend on the number of others.
    """
    stream = sentences(seed)
    kept = [next(stream) for _ in range(held_out)]
    return [next(stream) for _ in range(training)], kept


def _any_sentence(rng: random.Random) -> Sentence:
    verb = rng.choice(list(VERBS))
    what = VERBS[verb]
    plural = rng.random() < 0.4
    subject, noun = _any_noun_phrase(rng, KINDS if what.links else ALIVE, plural=plural)
    if rng.random() < 0.2:
        subject += _any_prepositional(rng, ("with", "behind"))
    modifier = _any_modifier(rng, negatable=verb != "are")
    whole = subject + verb_group(verb, plural=plural, modifier=modifier)
    if what.links:
        whole += complement(_any_adjective(rng, NOUNS[noun].kind), noun, plural=plural)
    elif what.objects:
        negated = modifier in NEGATIONS
        whole += _any_noun_phrase(
            rng, what.objects, plural=rng.random() < 0.4, negated=negated, full=True
        )[0]
    place = rng.random()
    if place < 0.15:
        whole = _any_prepositional(rng, list(PREPOSITIONS)) + whole
    elif place < 0.6 and not what.links:
        whole += _any_prepositional(rng, list(PREPOSITIONS))
    return sentence(whole)


def _any_modifier(rng: random.Random, *, negatable: bool) -> str | None:
    place = rng.random()
    if place < 0.5 and negatable:
        return "not" if place < 0.35 else "never"
    return rng.choice(list(ADVERBS)) if place > 0.8 else None


def _any_prepositional(rng: random.Random, among: Sequence[str]) -> Phrase:
    preposition = rng.choice(among)
    kinds = PREPOSITIONS[preposition].kinds
    return prepositional(preposition, _any_noun_phrase(rng, kinds, plural=rng.random() < 0.3)[0])


def _any_noun_phrase(
    rng: random.Random,
    kinds: Sequence[str],
    *,
    plural: bool,
    negated: bool = False,
    full: bool = False,
) -> tuple[Phrase, str]:
    """A noun phrase and its noun; a full one has adjectives more often."""
    noun = rng.choice([name for name, one in NOUNS.items() if one.kind in kinds])
    determiners = [
        name
        for name, one in DETERMINERS.items()
        if one.french[2 if plural else 0] and not (negated and one.counts)
    ]
    determiner = "the" if rng.random() < 0.3 else rng.choice(determiners)
    often = 0.45 if full else 0.3
    before, after = (
        _any_adjective(rng, NOUNS[noun].kind, before=side) if rng.random() < often else None
        for side in (True, False)
    )
    phrase = noun_phrase(
        determiner, noun, before=before, after=after, plural=plural, negated=negated
    )
    return phrase, noun


def _any_adjective(rng: random.Random, kind: str, *, before: bool | None = None) -> str:
    return rng.choice(
        [
            name
            for name, one in ADJECTIVES.items()
            if kind in one.kinds and before in (None, one.before)
        ]
    )


def vocabulary() -> tuple[list[str], list[str]]:
    """All English and all French words that the grammar can write, sorted."""
    opening = [(one.english, *one.french) for one in DETERMINERS.values()]
    opening += [(one.english, one.french) for one in PREPOSITIONS.values()]
    english = {".", "not", "never", *UNALIGNED, *ADVERBS, *ADJECTIVES}
    french = {".", "ne", "de", *NEGATIONS.values(), *ADVERBS.values()}
    for first, *others in opening:
        english |= {first, first.capitalize()}
        french |= {form for other in others for form in (other, other.capitalize())}
    for noun in NOUNS.values():
        english |= set(noun.english)
        french |= set(noun.french)
    for verb in VERBS.values():
        english |= set(verb.english)
        french |= set(verb.french)
    for adjective in ADJECTIVES.values():
        french |= set(adjective.french)
    return sorted(english), sorted(french - {""})
