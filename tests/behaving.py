"""Runs of the talker, healthy ones and such with a planted fault, judged as the gate judges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bot.apart.conversing import Speaking, prompts_rendered
from bot.apart.voice import Voice
from bot.behaviour.answering import Known, Question
from bot.behaviour.habits import habits_of
from bot.behaviour.prompts import conversation, edited, read_prompts
from bot.behaviour.reasoning import marks_of
from bot.behaviour.sitting import Sitting, answered
from bot.behaviour.tool_calls import Offered, form_of
from bot.clients.llama.quantization import quantize_file
from bot.clients.llama.session import Loading
from bot.gate.verdicts import behaviour_checks, limit_of
from bot.measures.opening import ends_of
from bot.plan.profiles import FILE_TYPES
from bot.records.measured import Behaviour
from bot.settings.showing import GateSettings
from tests.split_gguf import changed_weights
from tests.talker import EXPERTS, TEMPLATE, prompts

TALKER = Path(__file__).with_name("talker-Q8_0.gguf")
# healthy tiers: what a 2-million-weight model bears; llama.cpp's own mixes of types
TYPES = (
    "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "IQ4_NL",
)  # fmt: skip
LIMIT, CONTEXT = 48, 2560
DROPPED = "{%- if add_generation_prompt %}"  # what a template begins an answer with
BROKEN = {
    "no generation prompt": TEMPLATE.replace(DROPPED, "{%- if false %}"),
    "no ends of turns": TEMPLATE.replace(
        "{{ message.content }}<|im_end|>", "{{ message.content }}"
    ),
    "roles mixed up": TEMPLATE.replace("{{ message.role }}", "assistant"),
    "first message alone": TEMPLATE.replace(
        "for message in messages", "for message in messages[:1]"
    ),
}


def prompt_file(folder: Path) -> Path:
    """The talker's own prompts."""
    path = folder / "prompts.json"
    path.write_text(json.dumps(prompts()), encoding="utf-8")
    return path


def behaviour(path: Path, asked: Path, template: str = TEMPLATE) -> Behaviour:
    """As `behaviour_of` of bot/evaluate/asking/behaving.py, in this process and with one thread."""
    given, voice = read_prompts(asked), Voice(lambda _line: None)
    bos, eos = ends_of(voice, path)
    speaking = Speaking(template=template, bos=bos, eos=eos)
    waiting = [conversation(one, given.filler, n) for n, one in enumerate(given.prompts)]
    edits = [turns for edit in given.edits for turns in edited(edit)]
    texts = [text.text for text in prompts_rendered(speaking, [*waiting, *edits])]
    pairs = texts[len(waiting) :]
    questions = tuple(
        Question(
            text=text,
            needle=prompt.needle,
            offered=tuple(
                Offered(name=t.name, parameters=tuple(t.properties), required=t.required)
                for t in prompt.tools
            ),
        )
        for prompt, text in zip(given.prompts, texts, strict=False)
    )
    known = Known(form=form_of(template), marks=marks_of(template))
    sitting = Sitting(
        questions=questions,
        edits=tuple(zip(pairs[0::2], pairs[1::2], strict=True)),
        known=known,
        limit=LIMIT,
        context=CONTEXT,
    )
    found = answered(voice, Loading(path=path, threads=1, gpu_layers=0), sitting)
    return Behaviour(
        limit=LIMIT,
        prompts=tuple(hashlib.sha256(q.text.encode()).hexdigest()[:12] for q in questions),
        form=known.form,
        habits=habits_of(found.outcomes),
        edits=found.edits,
    )


def failed(ours: Behaviour, reference: Behaviour, tier: str = "I-Balanced") -> list[str]:
    """Rules that a tier breaks, by the gate's own settings, and why."""
    limit = limit_of(GateSettings().behaviour_drop, tier)
    checks = behaviour_checks(ours, reference, limit)
    return [f"{rule}: {text}" for rule, good, text in checks if not good]


def sibling(folder: Path, seed: int, noise: float = 0.01) -> Path:
    """The talker with other roundings: noise of a hundredth of each tensor's size, F32."""
    random = np.random.default_rng(seed)

    def change(_name: str, array: np.ndarray) -> np.ndarray:
        spread = noise * float(np.sqrt(np.mean(array**2)))
        return array + random.normal(0, spread, array.shape).astype(np.float32)

    return changed_weights(TALKER, folder / f"sibling-{seed}.gguf", change)


def tier(source: Path, target: Path, kind: str) -> Path:
    """A file in one of llama.cpp's file types."""
    quantize_file(
        source, target, file_type=FILE_TYPES[kind], overrides=(), imatrix=None, threads=1,
        requantize=True,
    )  # fmt: skip
    return target


def corrupt_experts(folder: Path, source: Path = TALKER) -> Iterator[tuple[str, Path]]:
    """One expert of one layer, spoilt in several ways; F32."""
    random = np.random.default_rng(3)

    def spoilt(how: str, layer: int, expert: int) -> Path:
        def change(name: str, array: np.ndarray) -> np.ndarray:
            if name == f"blk.{layer}.ffn_down_exps.weight":
                array = array.copy()
                part = array[expert]
                others = {
                    "turned": -part,
                    "mixed rows": part[random.permutation(len(part))],
                    "eightfold": 8 * part,
                    "a neighbour's": array[(expert + 1) % EXPERTS],
                }
                array[expert] = others[how]
            return array

        name = f"{how.replace(' ', '-')}-{layer}-{expert}.gguf"
        return changed_weights(source, folder / name, change)

    for layer, expert in ((0, 1), (1, 2)):
        for how in ("turned", "mixed rows", "eightfold", "a neighbour's"):
            yield f"{how}, layer {layer}, expert {expert}", spoilt(how, layer, expert)


def wrong_ropes(folder: Path) -> Iterator[tuple[str, Path]]:
    """Other frequencies of rotary positions in the metadata, the same weights."""
    for base in (100.0, 1_000_000.0):
        metadata = {"qwen3moe.rope.freq_base": base}
        path = folder / f"rope-{base:g}.gguf"
        yield f"base {base:g}", changed_weights(TALKER, path, lambda _n, a: a, metadata)
