"""Bodies of requests: bounded, and parsed strictly."""

from __future__ import annotations

import http.client
from contextlib import closing
from pathlib import Path

import pytest

from bot.localhub.files.repositories import Store
from bot.serving.bodies import json_objects
from bot.serving.patience import Patience
from bot.serving.refusal import Refusal
from tests.unit.serving.test_patience import SLOW, serving


@pytest.mark.parametrize(
    "body", [b"[" + b"[]," * 200_000 + b"1]", b'{"a":' * 900, b'{"a":"\\ud800"}']
)
def test_a_body_of_json_is_bounded_in_values_and_depth(tmp_path: Path, body: bytes) -> None:
    token = Store(tmp_path / "hub").add_user("alice")
    sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with (
        serving(tmp_path, "hub", Patience()) as address,
        closing(http.client.HTTPConnection(*address, timeout=SLOW)) as line,
    ):
        line.request("POST", "/api/repos/create", body, sent)
        reply = line.getresponse()
        assert (reply.status, b"The body" in reply.read()) == (400, True)


@pytest.mark.parametrize("items", [None, {}, "x", [1], [{}, None]])
def test_a_list_of_objects_is_nothing_else(items: object) -> None:
    with pytest.raises(Refusal, match="files is not a list of objects") as refused:
        list(json_objects({"files": items}, "files"))
    assert refused.value.status == 400
    assert list(json_objects({"files": [{"a": 1}]}, "files")) == [{"a": 1}]
