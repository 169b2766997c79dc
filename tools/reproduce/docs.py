"""Write docs/reproduction.md and its figures from results.json.

    python -m tools.reproduce.docs outputs/reproduce/results.json

The file is copied to tools/reproduce/results.json, and a test checks that the page matches this copy. Without an
argument, the page is written from the copy.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conf.compose import compose_claims
from conf.launch import checking_settings
from conf.reproduce import ClaimConfig
from run.files import read_json, replace_json, replace_text
from tools.reproduce.effects import Verdict
from tools.reproduce.picture import deciding_rows, draw_claim, draw_overview, rows_of
from tools.reproduce.words import arm_texts, claimed_text, effect_text, interval_text, p_text

RESULTS = Path(__file__).with_name("results.json")
DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "reproduction.md"
BEGIN, END = "<!-- begin: tools.reproduce.docs -->", "<!-- end: tools.reproduce.docs -->"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.reproduce.docs", description=__doc__, formatter_class=raw)
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS, help="a results.json of `make reproduce`")
    args = parser.parse_args()
    with checking_settings():
        results, claims = (
            read_json(args.results, "give a results.json of `make reproduce`", ("claims",)),
            compose_claims(),
        )
        page = replaced(PAGE.read_text(encoding="utf-8"), body(results, claims))
        replace_json(RESULTS, results)
        replace_text(PAGE, [page])
        draw(results)
    print(PAGE)


def replaced(page: str, text: str) -> str:
    """The page with the text between its two comments.

    Raises:
        ValueError: it lacks them.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"{PAGE} must contain the lines {BEGIN} and {END}, between which the results go")
    return f"{page[: page.index(BEGIN)]}{BEGIN}\n\n{text}\n\n{page[page.index(END) :]}"


def draw(results: Mapping[str, Any]) -> None:
    """Draw the figures that the page shows."""
    if deciding_rows(results):
        draw_overview(results, DOCS / "reproduction.png")
    for name, claim in results["claims"].items():
        if rows_of(claim):
            draw_claim(claim, DOCS / f"reproduction_{name}.png")


def body(results: Mapping[str, Any], claims: Mapping[str, ClaimConfig]) -> str:
    """The part of the page that is made from the results; a claim that they lack has not been run."""
    parts = [*_summary(results, claims), "## The claims"]
    for name, claim in claims.items():
        parts += _claim(name, claim, results["claims"].get(name))
    return "\n\n".join(parts)


def _summary(results: Mapping[str, Any], claims: Mapping[str, ClaimConfig]) -> Iterator[str]:
    if deciding_rows(results):
        yield "![the effect and its interval for every comparison, coloured by verdict](reproduction.png)"
        seeds = f"seed{'s' * (len(results['seeds']) > 1)} {', '.join(map(str, results['seeds']))}"
        commit = f", commit {results['git']['commit'][:10]}" if results["git"] else ""
        yield (
            f"One run of `make reproduce` with {seeds} on a machine with {results['cores']} cores: "
            f"{results['minutes']:.0f} minutes, {results['kwh']:.2f} kWh at {results['watts']:g} W, "
            f"${results['usd']:.2f} at ${results['usd_per_hour']:.2f} per hour{commit}."
        )
    rows = []
    for name, claim in claims.items():
        found = results["claims"].get(name)
        cells = [f"[{claim.number}. {claim.title}](#{_anchor(claim)})", _verdict(found)]
        shown = [each for each in found["comparisons"] if each["at_least"] is not None] if found else []
        for each in [each for each in shown if each["effect"]]:
            rows.append([*cells, each["label"], effect_text(each), interval_text(each), claimed_text(each)])
            cells = ["", ""]
        if cells[0]:
            rows.append([*cells, "", "", "", ""])
    yield _table(["claim", "verdict", "comparison", "effect", "interval", "claimed"], rows)


def _claim(name: str, claim: ClaimConfig, found: Mapping[str, Any] | None) -> Iterator[str]:
    yield f"### {claim.number}. {claim.title}"
    yield f"> {claim.sentence}\n>\n> [{claim.source}]({claim.url})"
    yield f"**Verdict: {_verdict(found)}.** {claim.done}"
    measured = [each for each in found["comparisons"] if each["effect"]] if found else []
    if found and measured:
        yield _table(["comparison", "arms", "effect", "interval", "p", "claimed", "verdict"], map(_row, measured))
        for each in found["comparisons"]:
            if each["note"]:
                yield f"{each['label']}: {each['note']}."
        if missing := [each["label"] for each in found["comparisons"] if not each["effect"] and not each["note"]]:
            yield f"Not run: {'; '.join(missing)}."
        single = [each["label"] for each in measured if each["effect"]["seeds"] == 1]
        if single:
            which = "" if len(single) == len(measured) else f" ({'; '.join(single)})"
            text = "cover the choice of problems only, not the variation between runs."
            yield f"Intervals of a single seed{which} {text}"
        if rows_of(found):
            yield f"![{claim.title}](reproduction_{name}.png)"
        spent = f"{found['minutes']:.0f} minutes, ${found['usd']:.2f} and {found['kwh']:.3f} kWh"
        yield f"The stages behind this claim took {spent} for all seeds, including stages that other claims share."
    yield f"*What it does not show.* {claim.limits}"
    if found and found["verdict"] in (Verdict.REFUTED, Verdict.UNDECIDED):
        yield f"*What could change the verdict.* {claim.needed[0].upper()}{claim.needed[1:]}."


def _row(comparison: Mapping[str, Any]) -> Sequence[str]:
    cells = [comparison["label"], ", ".join(arm_texts(comparison)), effect_text(comparison)]
    cells.append(interval_text(comparison))
    return [*cells, p_text(comparison), claimed_text(comparison), comparison["verdict"] or "shown only"]


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heading, ["---"] * len(heading), *rows))


def _verdict(found: Mapping[str, Any] | None) -> str:
    return str(found["verdict"]) if found else Verdict.NOT_RUN


def _anchor(claim: ClaimConfig) -> str:
    """The anchor that GitHub gives the heading of a claim."""
    kept = "".join(letter for letter in f"{claim.number}. {claim.title}".lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")


if __name__ == "__main__":
    main()
