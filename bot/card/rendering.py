"""A whole card: its front matter made here, its body by a child, which gets data and gives text.

The child (card.py) knows the templates, ours and the user's; strangers' words are data there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bot.apart import errand
from bot.apart.sandbox import IsolationSetting, Limits
from bot.card.frontmatter import card_front_matter
from bot.card.tables.cells import CardFile
from bot.errors import BuildError
from bot.plots.pictures import Picture
from bot.records.coding import to_json
from bot.records.placements import Fits
from bot.records.results import Results
from bot.settings.sections import data_folder
from bot.settings.showing import CardSettings

BODY = "body.md"  # what the child leaves
LARGEST = 4 << 20  # bytes; a card of 200 rows has a tenth of it
LIMITS = Limits(
    seconds=300,
    memory=2 << 30,
    name="rendering the card",
    longer="look at the templates",
    larger="look at the templates",
)


@dataclass(frozen=True, kw_only=True)
class CardOrder:
    """All that a card is made of; as JSON it goes to the child.

    `files` are all files of the repository but the card, `about` a line for each tier. A file in
    `templates` replaces the one of the same name.
    """

    results: Results
    repo_id: str
    files: tuple[CardFile, ...]
    about: Mapping[str, str]
    plots: tuple[Picture, ...] = ()
    fits: Fits | None = None
    thinking: bool = False  # whether the chat template knows a switch for it
    look: CardSettings = field(default_factory=CardSettings)
    templates: Path | None = None
    quantized_by: str | None = None


def render(order: CardOrder, isolation: IsolationSetting = "best") -> str:
    """The whole README.md, front matter first.

    Raises SettingsError, naming template and line, for a template that cannot be rendered,
    BuildError for one that does not end, or whose card nobody could read, CapacityError where the
    system has not the isolation that is asked for.
    """
    reads = [data_folder("card_templates"), *([order.templates] if order.templates else [])]
    with errand.sent(
        "bot.card.card", to_json(order), limits=LIMITS, reads=reads, isolation=isolation
    ) as folder:
        return whole_card(order, _read(folder / BODY))


def whole_card(order: CardOrder, body: str) -> str:
    """The front matter, which nobody's template decides, and the body."""
    look, by = order.look, order.quantized_by
    return card_front_matter(order.results, by, order.repo_id, look, order.files) + "\n" + body


def _read(path: Path) -> str:
    """The child's text without control characters. Raises BuildError above `LARGEST` bytes."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
        raise BuildError(f"the card is none, or larger than {LARGEST >> 20} MB; look at templates")
    text = path.read_text(encoding="utf-8", errors="replace")
    return "".join(sign for sign in text if sign in "\n\t" or unicodedata.category(sign) != "Cc")
