"""Which licences let a changed model be handed on."""

from __future__ import annotations

import pytest

from bot import licences as licence
from bot.records.releases import Release
from bot.settings.showing import GateSettings


@pytest.mark.parametrize(
    ("licences", "name", "link", "good"),
    [
        (("mit", "cc-by-nc-nd-4.0"), None, None, False),
        (("cc-by-nc-nd-4.0", "mit"), None, None, False),
        (("mit", "apache-2.0"), None, None, True),
        (("CC-BY-ND-4.0",), None, None, False),
        (("cc by nc nd 3.0",), None, None, False),
        (("CC_BY_NC_ND",), None, None, False),
        (("mit, cc-by-nd-4.0",), None, None, False),
        (("other",), "CC-BY-NC-ND-4.0", None, False),
        (("other",), "Some NoDerivatives License", None, False),
        (("other",), "Non-Derivative Research", None, False),
        (("other",), "All rights reserved", None, False),
        (("other",), None, "https://creativecommons.org/licenses/by-nc-nd/4.0/", False),
        (("other",), None, "https://creativecommons.org/licenses/by-nc/4.0/", True),
        (("other",), "qwen-research", "LICENSE", True),
        (("mit", licence.UNREADABLE), None, None, False),
        (("apple-amlr",), None, None, False),
        (("unknown",), None, None, False),  # as if it named none
        (("mit", "unknown"), None, None, False),
        (("unlicense",), None, None, True),
        (("odc-by", "bigcode-openrail-m"), None, None, True),  # no word of these is nd
    ],
)
def test_the_strictest_of_all_licences_decides(
    licences: tuple[str, ...], name: str | None, link: str | None, good: bool
) -> None:
    release = Release(
        repo_id="a/B", commit="c" * 40, license=licences[0], license_name=name, license_link=link,
        licenses=licences if len(licences) > 1 else (),
    )  # fmt: skip
    assert licence.permitted(release, GateSettings())[0] is good


@pytest.mark.parametrize(
    ("licences", "name", "allowed", "good"),
    [
        (("MIT",), None, ("mit",), True),
        (("mit", "apache-2.0"), None, ("mit",), False),
        (("mit", "apache-2.0"), None, ("mit", "apache-2.0"), True),
        (("other",), "qwen", ("qwen",), True),
        (("other",), "qwen", ("mit",), False),
    ],
)
def test_all_licences_must_be_allowed(
    licences: tuple[str, ...], name: str | None, allowed: tuple[str, ...], good: bool
) -> None:
    release = Release(repo_id="a/B", commit="c" * 40, licenses=licences, license_name=name)
    assert licence.permitted(release, GateSettings(licences=allowed))[0] is good
