"""Which plots a card has, and having them drawn: by a child, whose files are looked at.

Matplotlib lays out names that strangers chose, so it runs apart. A plot that cannot be drawn is
left out of the card, with the reason, and the release goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.apart import errand, sandbox
from bot.apart.sandbox import IsolationSetting, Limits
from bot.disk.writing import writing
from bot.errors import BotError, BuildError
from bot.foreign import printable, read_bounded
from bot.plots.images import LARGEST, require_png, require_svg
from bot.plots.points import (
    Panel,
    alt_text,
    by_maximum,
    by_speed,
    by_task,
    points,
    points_of_perplexity,
)
from bot.plots.type_words import rows_of, types_words
from bot.records.coding import to_json
from bot.records.results import Results

INCHES, DPI = (8.0, 5.0), 150  # 1200 × 750 pixels
ROW, FEWEST, TALLEST = 0.3, 2.6, 100.0  # inches of a row of a chart, of the least, of the tallest
PANELS = 3  # side by side at most
TYPES = "types-"  # begins the names of maps of types
MAP_ROW, MAPS = 0.24, 3  # inches of a row of a map; maps of fitted tiers at most
WHY = ".why"  # ends the name of a file that tells why there is no plot of that name
REASON = 4096  # bytes of it
LIMITS = Limits(
    seconds=600,
    memory=2 << 30,
    name="drawing the plots",
    longer="the release goes on without them",
    larger="the release goes on without them",
)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A plot of the repository: paths of its light and dark form, and what it shows in words."""

    light: str
    alt: str
    dark: str | None = None


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A plot to draw: its name, its size, what it shows in words, and a chart's rows."""

    name: str
    inches: tuple[float, float]
    alt: str
    panels: tuple[Panel, ...] = ()

    @property
    def names(self) -> tuple[str, str, str]:
        """Its files: light, dark, and in vectors."""
        return f"{self.name}.png", f"{self.name}-dark.png", f"{self.name}.svg"

    def paths(self, folder: Path) -> list[Path]:
        """Its files in a folder."""
        return [folder / name for name in self.names]

    def picture(self, folder: str) -> Picture:
        """How the card shows it."""
        light, dark, _ = self.names
        return Picture(light=f"{folder}/{light}", dark=f"{folder}/{dark}", alt=self.alt)


def drawings_of(results: Results) -> list[Drawing]:
    """Every plot that has something to show."""
    kld, ppl = points(results), points_of_perplexity(results)
    drawings = [
        Drawing(name=name, inches=INCHES, alt=alt_text(results, short))
        for name, short, plotted in (("size-vs-kld", "kld", kld), ("size-vs-ppl", "ppl", ppl))
        if plotted
    ]
    charts = {
        "kl-max": by_maximum(results),
        "accuracy": by_task(results)[:PANELS],
        "speed": by_speed(results)[:PANELS],
    }
    for name, panels in charts.items():
        if panels:
            rows = max(len(plotted) for _, plotted in panels)
            tall = min(max(FEWEST, 1.25 + ROW * rows), TALLEST)
            size = (INCHES[0], tall)
            alt = alt_text(results, name)
            drawings.append(Drawing(name=name, inches=size, alt=alt, panels=tuple(panels)))
    for fit in results.fitted[:MAPS]:
        size = (INCHES[0], min(2.2 + MAP_ROW * len(rows_of(fit)), TALLEST))
        name = f"{TYPES}{fit.tier}"
        drawings.append(Drawing(name=name, inches=size, alt=types_words(fit)))
    return drawings


def pictures(
    results: Results, folder: str, lacking: Collection[str] = ()
) -> tuple[list[Picture], list[str]]:
    """How the card shows each plot but the lacking ones, and their files' paths from the release.

    `folder` is the folder's name, as it stands in the repository.
    """
    drawn = [drawing for drawing in drawings_of(results) if drawing.name not in lacking]
    names = [f"{folder}/{name}" for drawing in drawn for name in drawing.names]
    return [drawing.picture(folder) for drawing in drawn], names


def draw_pictures(
    results: Results, folder: Path, isolation: IsolationSetting = "best"
) -> dict[str, str]:
    """Have every plot drawn into `folder`; the names of those left out, each with the reason.

    Nothing of an earlier plot of that name stays. Raises CapacityError where the system has not the
    isolation that is asked for.
    """
    sandbox.chosen_isolation(isolation)
    drawings = drawings_of(results)
    if not drawings:
        return {}
    for drawing in drawings:
        for path in drawing.paths(folder):
            path.unlink(missing_ok=True)
    try:
        with errand.sent(
            "bot.plots.plots", to_json(results), limits=LIMITS, isolation=isolation
        ) as drawn_folder:
            return _move_sound(drawings, drawn_folder, folder)
    except BotError as error:
        return {drawing.name: str(error) for drawing in drawings}


def lacking_plots(lacking: Mapping[str, str]) -> tuple[str, ...]:
    """How plots that could not be drawn are told of."""
    return tuple(f"without its plot {name}: {why}" for name, why in lacking.items())


def _move_sound(drawings: Sequence[Drawing], drawn_folder: Path, folder: Path) -> dict[str, str]:
    """Check each drawing's files and move them into `folder`; the reasons of those left out."""
    reasons = {}
    for drawing in drawings:
        try:
            contents = [_read(path) for path in drawing.paths(drawn_folder)]
            _require_pictures(drawing, contents)
        except BotError as error:
            reasons[drawing.name] = _reason_of(drawn_folder / f"{drawing.name}{WHY}") or str(error)
            continue
        for path, content in zip(drawing.paths(folder), contents, strict=True):
            with writing(path) as partial:
                partial.write_bytes(content)
    return reasons


def _read(path: Path) -> bytes:
    """A file that a child made; a link is none."""
    if path.is_symlink() or not path.is_file():
        raise BuildError("it was not drawn")
    return read_bounded(path, LARGEST)


def _require_pictures(drawing: Drawing, contents: Sequence[bytes]) -> None:
    wide, tall = (round(DPI * side) for side in drawing.inches)
    for png in contents[:2]:
        require_png(png, wide, tall)
    require_svg(contents[2])


def _reason_of(path: Path) -> str | None:
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        return printable(file.read(REASON).decode("utf-8", "replace"))
