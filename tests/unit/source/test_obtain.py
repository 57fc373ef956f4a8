"""A file that lies here, described."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import SourceError
from bot.plan.models import Local
from bot.source.obtain import described
from tests.models import workplace_in
from tests.split_gguf import split


def test_a_link_of_a_cache_has_the_name_of_the_model(tmp_path: Path, demo_model: Path) -> None:
    """As the cache of the Hub's client: snapshots are links to blobs that are called by hashes."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (tmp_path / "pieces").mkdir()
    pieces = split(demo_model, tmp_path / "pieces" / "Tiny-MoE-BF16.gguf", 60)
    for number, piece in enumerate([demo_model, *pieces]):
        blob = blobs / f"{number:064x}"
        piece.rename(blob) if number else blob.symlink_to(piece)
        (snapshot / piece.name).symlink_to(Path("../../blobs") / blob.name)
    workplace = workplace_in(tmp_path)
    single = described(workplace, Local(path=snapshot / demo_model.name))
    sharded = described(workplace, Local(path=snapshot / pieces[0].name))
    assert (single.name, sharded.name) == ("Tiny-MoE-14M", "Tiny-MoE")
    assert Path(single.source.path).name == demo_model.name
    assert {t.name for t in sharded.tensors} == {t.name for t in single.tensors}
    with pytest.raises(SourceError, match="is a hash and no name"):
        described(workplace, Local(path=blobs / f"{0:064x}"))
    named = workplace_in(tmp_path, source={"name": "Mine"})
    assert described(named, Local(path=blobs / f"{0:064x}")).name == "Mine"
