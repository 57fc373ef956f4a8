"""Makes the texts under bot/demo from four public-domain books and bench/demo_texts.

`python bench/make_demo_texts.py SOURCES [OUT]`, SOURCES a folder that holds the four books under
the names of BOOKS; bot/demo/ORIGIN.md says where each comes from. Same sources, same bytes.
"""

from __future__ import annotations

import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / "bench" / "demo_texts"

BOOKS = {
    "alice29.txt": "7467306ee0feed4971260f3c87421154a05be571d944e9cb021a5713700c38f0",
    "asyoulik.txt": "eaa3526fe53859f34ecdf255712f9ecf0b2c903451d4755b2edaa2e2599cb0fc",
    "plrabn12.txt": "07e2e0b461af78c7c647cb53dab39de560198e16f799b4516eccf0fbd69f764c",
    "Isaac.Newton-Opticks.txt": "d4a9ac22462b35e7821a4f2706c211093da678620a8f9997989ee7cf8d507bbd",
}

SEED = 1865
TASKS = 200
ENDINGS = 4
FIRST_TASK_CHAPTER = 8
ENDING_CHARS = range(28, 101)
CONTEXT_CHARS = range(40, 401)
LENGTH_SPREAD = 0.23  # 1 / (1 - 0.23) < 1.3: no ending differs by 30 % from another
APART = 6  # sentences between a right ending and a wrong one
BLOCK = 8  # endings of one form and nearly one length, which serve each other as wrong ones

PIECE_CHARS = 1800
OPTICKS_CHARS, PLAY_CHARS, VERSE_CHARS = 24_000, 14_000, 12_000

SENTENCE_END = re.compile(r"""(?<=[.!?])(['")]*) +(?=[A-Z`"(])""")
CLAUSE_END = re.compile(r"[,;:]'? (?=[a-z`A-Z])")
QUOTE = re.compile(r"`|(?<=[.,;:!?)-])'(?!\w)|(?<=\")'")
WHOLE = re.compile(r"""[.!?]['")]*$""")


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A chapter of Alice; a paragraph of verse holds line breaks, one of prose holds none."""

    number: int
    title: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A context and the words that truly follow; `place` counts sentences through the book."""

    place: int
    context: str
    ending: str
    form: str


def main(arguments: Sequence[str]) -> None:
    """Writes the four files; exits with a message if a source is not the known one."""
    if len(arguments) not in {1, 2}:
        raise SystemExit("usage: make_demo_texts.py SOURCES [OUT]")
    sources = Path(arguments[0])
    out = Path(arguments[1]) if len(arguments) == 2 else ROOT / "bot" / "demo"
    books = {name: _book(sources / name, digest) for name, digest in BOOKS.items()}
    chapters = list(_chapters(books["alice29.txt"]))
    texts = {
        "evaluation.txt": evaluation(chapters),
        "calibration.txt": calibration(books),
        "tasks.txt": tasks(chapters),
    }
    for name, text in texts.items():
        (out / name).write_bytes(text.encode())
    (out / "ORIGIN.md").write_bytes(_origin(texts).encode())


def _book(path: Path, digest: str) -> str:
    data = path.read_bytes()
    if sha256(data).hexdigest() != digest:
        raise SystemExit(f"{path} is not the edition this script was written for; see ORIGIN.md")
    return data.decode().replace("\r\n", "\n")


def _paragraphs(text: str) -> list[list[str]]:
    """Runs of lines between blank ones, without rows of asterisks."""
    lines = [line.rstrip() for line in text.split("\n")]
    lines = ["" if re.fullmatch(r"[ *]*", line) else line for line in lines]
    return [block.split("\n") for block in re.split(r"\n{2,}", "\n".join(lines).strip("\n"))]


def _joined(lines: Sequence[str]) -> str:
    """One line; a line that ends in a hyphen or a dash is joined without a blank."""
    text = "\n".join(line.strip() for line in lines)
    return re.sub(r" {2,}", " ", re.sub(r"(?<=-)\n", "", text).replace("\n", " "))


def _chapters(book: str) -> Iterator[Chapter]:
    body = book[: book.rindex("THE END")]
    heads = list(re.finditer(r"^ +CHAPTER [IVX]+\n\n +(\S.*)\n", body, flags=re.MULTILINE))
    ends = [head.start() for head in heads[1:]] + [len(body)]
    for number, (head, end) in enumerate(zip(heads, ends, strict=True), start=1):
        blocks = [_alice(block) for block in _paragraphs(body[head.end() : end])]
        paragraphs = tuple(block for block in blocks if block)
        yield Chapter(number=number, title=head[1].strip(), paragraphs=paragraphs)


def _alice(lines: Sequence[str]) -> str:
    """A paragraph of prose on one line, one of verse line by line.

    Prose is indented by two or three blanks in its first line only.
    """
    verse = lines[0].startswith("    ") or any(line.startswith("  ") for line in lines[1:])
    return re.sub(r" {2,}", " ", "\n".join(map(str.strip, lines))) if verse else _joined(lines)


def evaluation(chapters: Sequence[Chapter]) -> str:
    """Chapters I to VII of Alice, headings included."""
    parts = []
    for chapter in chapters[: FIRST_TASK_CHAPTER - 1]:
        parts += [f"Chapter {chapter.number}: {chapter.title}", *chapter.paragraphs]
    return _quotes("\n\n".join(parts)) + "\n"


def _quotes(text: str) -> str:
    return text.replace("`", "'")


def calibration(books: dict[str, str]) -> str:
    """Pieces of every kind of text, mixed so that any long stretch holds some of each."""
    kinds = [
        _pieces(_opticks(books["Isaac.Newton-Opticks.txt"]), OPTICKS_CHARS),
        _pieces(_play(books["asyoulik.txt"]), PLAY_CHARS),
        _pieces(_verse(books["plrabn12.txt"]), VERSE_CHARS),
        *(_pieces(path.read_text("utf-8").strip()) for path in sorted(OWN.glob("*.txt"))),
    ]
    placed = [
        ((index + 0.5) / len(kind), piece) for kind in kinds for index, piece in enumerate(kind)
    ]
    return "\n\n".join(piece for _, piece in sorted(placed)) + "\n"


def _pieces(text: str, limit: int | None = None) -> list[str]:
    """Whole paragraphs up to about PIECE_CHARS a piece and `limit` characters in all."""
    pieces, total = [""], 0
    for paragraph in text.split("\n\n"):
        if limit is not None and total + len(paragraph) > limit:
            break
        total += len(paragraph) + 2
        if pieces[-1] and len(pieces[-1]) + len(paragraph) > PIECE_CHARS:
            pieces.append("")
        pieces[-1] += f"\n\n{paragraph}" if pieces[-1] else paragraph
    return [piece.strip("\n") for piece in pieces]


def _opticks(book: str) -> str:
    """The Queries at the end of the third book."""
    queries = book[book.index("_Query_ 1.") :]
    blocks = (_joined(block) for block in _paragraphs(queries))
    return "\n\n".join(block for block in blocks if "[" not in block)


def _play(book: str) -> str:
    """As You Like It from its first scene, a speech a paragraph, without the running titles."""
    body = book[book.index("ACT I\n") :]
    body = re.sub(r"^\tAS YOU LIKE IT\n", "", body, flags=re.MULTILINE)
    blocks = ("\n".join(line.strip() for line in block) for block in _paragraphs(body))
    return "\n\n".join(re.sub(r"\t+", ": ", block) for block in blocks)


def _verse(book: str) -> str:
    """Paradise Lost, book by book, in paragraphs of whole sentences."""
    body = book[book.index("\nBook I ") :]
    lines = [line.strip() for block in _paragraphs(body) for line in block]
    text = re.sub(r"([.?!]\"?)\n(?=[A-Z\"])", r"\1\n\n", "\n".join(lines))
    return re.sub(r" {2,}", " ", text)


def tasks(chapters: Sequence[Chapter]) -> str:
    """Six lines a task, as hellaswag_score() of llama.cpp's tools/perplexity reads them.

    Every ending is right once and wrong in three other tasks: who looks at endings alone is right
    in one of four.
    """
    rng = random.Random(SEED)  # noqa: S311  (a fixed choice, no secret)
    candidates = list(_candidates(chapters[FIRST_TASK_CHAPTER - 1 :]))
    blocks = rng.sample(list(_blocks(candidates)), TASKS // BLOCK)
    wrong = {place: lines for block in blocks for place, lines in _wrong(block, rng)}
    chosen = sorted(chain.from_iterable(blocks), key=lambda candidate: candidate.place)
    rights = [index % ENDINGS for index in range(TASKS)]
    rng.shuffle(rights)
    lines = []
    for candidate, right in zip(chosen, rights, strict=True):
        endings = list(wrong[candidate.place])
        endings.insert(right, candidate.ending)
        lines += [candidate.context, str(right), *endings]
    return "\n".join(_quotes(line) for line in lines) + "\n"


def _candidates(chapters: Sequence[Chapter]) -> Iterator[Candidate]:
    """At most one for a sentence of prose."""
    place = 0
    for chapter in chapters:
        before: list[str] = []
        for paragraph in chapter.paragraphs:
            if "\n" in paragraph:
                before = []
                continue
            for sentence in _sentences(paragraph):
                place += 1
                for context, ending in _parted(before, sentence):
                    titled = f"{chapter.title}: {context}"
                    yield Candidate(place=place, context=titled, ending=ending, form=_form(ending))
                    break
                before = [*before[-1:], sentence]


def _parted(before: Sequence[str], sentence: str) -> Iterator[tuple[str, str]]:
    """Contexts and endings of fit length that leave no quote half said."""
    starts = [" ".join([*before[len(before) - count :], ""]) for count in range(len(before) + 1)]
    for head, ending in _cuts(sentence):
        for start in starts:
            context = (start + head).strip()
            sized = len(context) in CONTEXT_CHARS and len(ending) in ENDING_CHARS
            if sized and re.fullmatch(r"(\(\))*", _marks(f"{context} {ending}")):
                yield context, ending


def _marks(text: str) -> str:
    """Opening and closing quotes in order; an apostrophe closes one after a stop only."""
    return "".join("(" if mark == "`" else ")" for mark in QUOTE.findall(text))


def _sentences(paragraph: str) -> list[str]:
    return SENTENCE_END.sub(r"\1\n", paragraph).split("\n")


def _cuts(sentence: str) -> Iterator[tuple[str, str]]:
    """Ways to part what ends as a sentence does: after a clause, or before the first word."""
    if not WHOLE.search(sentence):
        return
    for cut in CLAUSE_END.finditer(sentence):
        yield sentence[: cut.end() - 1], sentence[cut.end() :]
    yield "", sentence


def _form(ending: str) -> str:
    """How an ending begins and ends, so that wrong ones look like the right one."""
    begins = "lower" if ending[0].islower() else "upper" if ending[0].isalpha() else "quote"
    return f"{begins} {_marks(ending)}"


def _blocks(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """BLOCK of one form each, with distinct endings of similar length."""
    distinct = {candidate.ending: candidate for candidate in candidates}.values()
    forms: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in distinct:
        forms[candidate.form].append(candidate)
    for group in forms.values():
        group.sort(key=lambda candidate: (len(candidate.ending), candidate.place))
        for start in range(0, len(group) - BLOCK + 1, BLOCK):
            block = group[start : start + BLOCK]
            if len(block[0].ending) >= (1 - LENGTH_SPREAD) * len(block[-1].ending):
                yield block


def _wrong(block: list[Candidate], rng: random.Random) -> list[tuple[int, list[str]]]:
    """For each place the endings of the next three round a circle, in the first order that fits."""
    for _ in range(10_000):
        circle = rng.sample(block, len(block))
        rounds = [(c, (circle[i:] + circle[:i])[1:ENDINGS]) for i, c in enumerate(circle)]
        if all(_fits(right, other) for right, others in rounds for other in others):
            return [(right.place, [other.ending for other in others]) for right, others in rounds]
    raise SystemExit(f"no order of the endings of {len(block[0].ending)} characters fits")


def _fits(right: Candidate, other: Candidate) -> bool:
    return abs(right.place - other.place) >= APART and other.ending not in right.context


def _origin(texts: dict[str, str]) -> str:
    template = (OWN / "ORIGIN.md.in").read_text("utf-8")
    for name, text in texts.items():
        template = template.replace(f"{{{name}}}", sha256(text.encode()).hexdigest())
    for name, digest in BOOKS.items():
        template = template.replace(f"{{{name}}}", digest)
    return template


if __name__ == "__main__":
    main(sys.argv[1:])
