"""Watching a graph: where it may end, and that its end changes nothing that is kept."""

import ctypes  # noqa: TID251 - nodes are made as C lays them out
from pathlib import Path
from typing import Any

import numpy as np

from bot.clients.llama.observer import GraphTensor, Observer, operation_number, weight_name
from bot.clients.llama.session import Session

CONTEXT, GRAPHS = 64, 3
MULTIPLICATIONS = (operation_number("MUL_MAT"), operation_number("MUL_MAT_ID"))
Asked = list[str]  # names of the weights that a graph was about to multiply


class Listening(Observer):
    """Notes the weights that it is asked about; `whole` never lets a graph end early."""

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.asked: Asked = []
        answer = self.callback

        def listen(address: int, ask: bool, user: Any) -> bool:
            node = GraphTensor.from_address(address)
            if ask and node.op in MULTIPLICATIONS:
                self.asked.append(weight_name(node.src[0].contents.name))
            return bool(answer(address, ask, user)) or (whole and not ask)

        self.callback = type(answer)(listen)


def watched(model: Path, text: str, *, whole: bool) -> Listening:
    """What was seen of a few chunks, one graph each."""
    observer = Listening(whole=whole)
    with Session(
        model, n_ctx=CONTEXT, threads=2, gpu_layers=0, micro_batch=CONTEXT, observer=observer
    ) as session:
        tokens = np.array(session.tokenize(text)[: GRAPHS * CONTEXT], np.int32)
        for chunk in tokens.reshape(GRAPHS, CONTEXT):
            session.clear()
            session.decode_side_by_side(chunk[None], 0)
    return observer


def test_the_output_matrix_is_multiplied_once_only(demo_model: Path, demo_text: str) -> None:
    """The first graph runs to its end, the others as far as the last norm; sums are the same."""
    cut, whole = (watched(demo_model, demo_text, whole=whole) for whole in (False, True))
    output = whole.asked[-1]
    assert not output.startswith("blk.")
    assert (whole.asked.count(output), cut.asked.count(output)) == (GRAPHS, 1)
    assert list(cut.stats) == list(whole.stats)
    for name, stats in whole.stats.items():
        assert np.array_equal(cut.stats[name].sums, stats.sums), name
        assert np.array_equal(cut.stats[name].counts, stats.counts), name


def node(operation: str, name: bytes, weight: bytes = b"") -> GraphTensor:
    """A node of a graph; multiplications of one row are asked about and not looked at."""
    tensor = GraphTensor(op=operation_number(operation), name=name)
    if weight:
        tensor.src[0] = ctypes.pointer(GraphTensor(name=weight))
        tensor.src[1] = ctypes.pointer(GraphTensor(ne=(1, 1, 1, 1)))
    return tensor


def ends(graph: list[GraphTensor]) -> list[bool]:
    """Whether each of three runs of a graph ends at its norm."""
    observer = Observer()
    return [any(stopped(observer, graph_node) for graph_node in graph) for _ in range(3)]


def stopped(observer: Observer, graph_node: GraphTensor) -> bool:
    """Whether the graph stops after a node and is not to go on."""
    address = ctypes.addressof(graph_node)
    return observer.callback(address, True, None) and not observer.callback(address, False, None)


FIRST = node("MUL_MAT", b"attn_qkv-0", b"blk.0.attn_qkv.weight")
SECOND = node("MUL_MAT", b"ffn_out-0", b"blk.0.ffn_down.weight")
NORM = node("MUL", b"result_norm")
OUTPUT = node("MUL_MAT", b"result_output", b"output.weight")


def test_a_graph_ends_at_the_norm_before_the_output() -> None:
    assert ends([FIRST, SECOND, NORM, OUTPUT]) == [False, True, True]


def test_a_graph_with_a_block_after_its_norm_runs_to_its_end() -> None:
    late = node("MUL_MAT", b"nextn-1", b"CUDA0#blk.1.nextn.eh_proj.weight#0")
    assert ends([FIRST, SECOND, NORM, late, OUTPUT]) == [False, False, False]


def test_a_norm_of_another_name_ends_nothing() -> None:
    assert ends([FIRST, node("MUL", b"result_norm-1"), OUTPUT]) == [False, False, False]
