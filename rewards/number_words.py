"""The words that may stand beside a number, and those that change its value.

A unit can be any noun, so a word of three or more letters is harmless unless it is listed here. The word directly
before a number is where a language puts what changes a value ("minus", "about", "than"), so it must be one of `LEADS`.
"""

import re


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIVE = frozenset({"negative", "minus"})
POSITIVE = frozenset({"positive", "plus"})

# Words after which a sign belongs to the number: "the answer is -5".
BEFORE_SIGN = words(
    """
    is are was were be been being it's that's equals equal equalling to of becomes become became gives give gave
    gets get got yields yield has have had obtain obtains
    """
)
LEADS = BEFORE_SIGN | words(
    """
    a an the at by for in on with as into per after only exactly just precisely another additional extra total
    altogether overall answer result solution value therefore thus hence so then now currently finally us him
    her his their them my our its these those all usd eur gbp cad aud inr rs there's he's she's worth add adds
    adding ate eat eats eating bake bakes baked bring brings brought build builds built buy buys buying bought
    carry carries carried catch catches caught charge charges charged collect collects collected complete
    completes completed contain contains contained cost costs costing count counts counted cover covers covered
    donate donates donated draw draws drew drink drinks drank drive drives drove earn earns earned earning eaten
    find finds found finish finishes finished gain gains gained gather gathers gathered given go goes went grow
    grows grew hold holds held include includes included invest invests invested invite invites invited keep
    keeps kept last lasts lasted leave leaves left lose loses lost make makes made making measure measures
    measured need needs needed offer offers order orders ordered owe owes owed own owns owned paint paints
    painted pay pays paid paying pick picks picked plant plants planted play plays played produce produces
    produced purchase purchases purchased put puts raise raises raised read reads receive receives received
    require requires required run runs ran save saves saved saving score scores scored see sees saw sell sells
    sold selling send sends sent serve serves served sleep sleeps slept spend spends spending spent swim swims
    swam take takes taking took travel travels traveled travelled type types typed use uses used using walk
    walks walked want wants wanted watch watches watched weigh weighs weighed win wins won work works worked
    write writes wrote remain remains remaining totals totaled
    """
)

# Words of one or two letters are refused unless they are listed: `3 M`, `12 x`, `2 pi` and `3 k` have no unit.
SHORT = words(
    """
    a A I m g s h l L W V J N an as at be by do go he in is it me my of on so to us we am pm tv cd ok mr ms dr
    rs cm mm km dm nm kg mg ml dl cl ft yd mi lb oz hr qt gb mb kb tb kw hz ha hp sq cu pa
    """
)
MISLEADING = frozenset({"MM", "Mm"})  # finance writes MM for a million
WITH_DIGITS = frozenset({"co2", "h2o", "o2", "n2"})
# Units that take an exponent.
UNITS = words(
    """
    m cm mm km dm nm ft in yd mi s h hr sec min unit units foot feet inch inches yard yards mile miles meter
    meters metre metres centimeter centimeters centimetre centimetres millimeter millimeters kilometer
    kilometers kilometre kilometres second seconds
    """
)

TENS = words("twenty thirty forty fifty sixty seventy eighty ninety")
PARTS = words("half third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth quarter")
NUMBER_WORDS = (
    words(
        """
    zero nil one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen ones tens halves halved couple several
    """
    )
    | TENS
    | {word[:-1] + "ies" for word in TENS}
    | PARTS
    | {word + "s" for word in PARTS}
)
MAGNITUDE = re.compile(
    r"hundred|thousand|.*illion|.*illiard|mill(?:e|es|on|ones|onen|oen|oenen)?$|mil$|mln|bln|tln|mio$|mrd|bil$|tril"
    r"|thou$|mega$|giga$|grand$|doz|lakh|lac$|crore|gross$"
)
NEGATIONS = words(
    """
    not no never none neither nor without except but unless false wrong incorrect incorrectly cannot unlike
    excluding if or either hardly barely
    """
)
# Comparisons, operations, and signs that do not directly precede the number.
CHANGES = NEGATIONS | words(
    """
    negative minus plus than least most approximately approx roughly nearly almost about around between under
    below over above beyond within exceeds exceeding ish maximum minimum max counting squared cubed double
    doubled doubling twice thrice triple tripled triples doubles quadruple quadrupled multiplied multiply
    divided divide divides multiplies modulo mod root sqrt cbrt factorial factorials power powers exponent
    reciprocal inverse opposite log logarithm logs exp sin cos tan sine cosine tangent csc cot abs absolute
    floor ceil ceiling base binary octal hexadecimal hex choose infinity infinite repeating recurring error
    undefined unknown percentile
    """
)
PHRASES = re.compile(r"\b(?:square|cube|roots|up) (?:of|to)\b", re.IGNORECASE)


def refusal(word: str) -> str | None:
    """Why a number beside this word is not read; None for a harmless word."""
    lower = word.lower().replace("’", "'")
    if lower in NUMBER_WORDS or MAGNITUDE.match(lower):
        return f"contains the number word {word!r}; write the number in digits"
    if lower in CHANGES or lower.endswith("n't"):
        return f"{word!r} may change the value"
    if any(character.isdigit() for character in lower):
        known = lower in WITH_DIGITS or (lower[-1] in "23" and lower[:-1] in UNITS)
        return None if known else f"{word[:20]!r} is neither a number nor a unit"
    if len(lower) > 2:
        return None
    known = word in SHORT if len(word) == 1 else lower in SHORT and word not in MISLEADING
    return None if known else f"{word!r} is not a known word or unit"
