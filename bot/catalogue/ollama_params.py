"""A `params` file, which Ollama reads of a repository (hub-docs, docs/hub/ollama.md)."""

from __future__ import annotations

import json

from bot.records.model import Architecture

NAME = "params"
# what each is called there (api/types.go of Ollama, Options)
SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repeat_penalty",
    "penalty_last_n": "repeat_last_n",
}


def params_text(model: Architecture) -> str | None:
    """The makers' sampling settings as Ollama reads them; None where they set none."""
    told = dict(model.sampling)
    settings = {theirs: told[ours] for ours, theirs in SAMPLING.items() if ours in told}
    return json.dumps(settings, indent=2) + "\n" if settings else None
