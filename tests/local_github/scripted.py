"""A workflow with the inputs of a release, and an executor whose jobs do as they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.local_github.repository import Result

RELEASE = b"""
name: release
run-name: apex-bot ${{ inputs.delivery || github.event.client_payload.delivery }} \
${{ inputs.model || github.event.client_payload.model }}
on:
  repository_dispatch: {types: [apex-bot-release]}
  workflow_dispatch:
    inputs:
      model: {required: true, type: string}
      revision: {required: true, type: string}
      tiers: {required: false, type: string}
      delivery: {required: true, type: string}
concurrency:
  group: release-${{ inputs.model || github.event.client_payload.model }}
jobs:
  prepare: {runs-on: [self-hosted, gpu]}
  quantize: {runs-on: [self-hosted, gpu], needs: prepare}
  publish: {runs-on: [self-hosted], needs: quantize}
"""
FILES = {".github/workflows/release.yml": RELEASE}
GOOD: dict[str, Result] = {"prepare": "success", "quantize": "success", "publish": "success"}


@dataclass
class Script:
    """Jobs that end as `results` says, the next run's first; then all end well."""

    results: list[Mapping[str, Result]] = field(default_factory=list)
    log: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    def __call__(
        self,
        checkout: Path,
        workflow: str,
        event: dict[str, Any],
        environment: dict[str, str],
        log: Path,
    ) -> Mapping[str, Result]:
        assert (checkout / ".github/workflows" / workflow).is_file()
        assert environment["GITHUB_RUN_ID"].isdecimal()
        assert environment["GITHUB_API_URL"].startswith("http://127.0.0.1:")
        self.events.append(event)
        log.write_text(self.log)
        return self.results.pop(0) if self.results else GOOD
