import json
from pathlib import Path
from typing import Any

import pytest

from bot.detect.inspection import look_at_folder
from bot.errors import SourceError
from bot.source import checkpoint, staging
from bot.source.staging import ConvertFacts
from tests import checkpoints

FACTS = ConvertFacts(
    name="Tiny-4x1M",
    repo_id="org/Tiny-4x1M",
    commit="c0ffee" * 6 + "beef",
    license="apache-2.0",
    license_link="https://example.org/licence",
    languages=("en", "no"),
)

SHOWN = "model-00001-of-00001.safetensors"


def source(folder: Path, config: dict[str, Any], tokenizer: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    family = checkpoints.mixtral()
    (folder / "config.json").write_text(json.dumps({**family.config, **config}))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    checkpoints.weights(family, folder)
    for name in ("tokenizer.json", "chat_template.jinja", "merges.txt", "tokenizer.model"):
        (folder / name).write_text("data")
    for name in ("modeling.py", "pytorch_model.bin", "x.pkl", "README.md", "run.sh", ".env"):
        (folder / name).write_text("never shown")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    (folder / "additional_chat_templates" / "evil.py").write_text("never shown")
    return folder


def staged(tmp_path: Path, config: dict[str, Any], tokenizer: dict[str, Any]) -> Path:
    model = checkpoint.read_checkpoint(source(tmp_path / "source", config, tokenizer))
    return staging.stage(model, tmp_path / "work", FACTS, without_mtp=False)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_only_data_is_shown(tmp_path: Path) -> None:
    folder = staged(tmp_path, {}, {})
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert names == {
        *("config.json", "tokenizer_config.json", "tokenizer.json", "tokenizer.model"),
        *("chat_template.jinja", "merges.txt", SHOWN, "README.md"),
        *("additional_chat_templates", "additional_chat_templates/tool_use.jinja"),
    }
    assert folder.name == "Tiny-4x1M"
    assert "never shown" not in (folder / "README.md").read_text()
    weights = tmp_path / "source" / "model.safetensors"
    assert (folder / SHOWN).resolve() == weights


def test_configs_name_neither_code_nor_paths(tmp_path: Path) -> None:
    code = {"auto_map": {"AutoConfig": "evil.Config"}, "_name_or_path": "/home/someone/run"}
    config = {**code, "text_config": {**code, "kept": 1}}
    folder = staged(tmp_path, config, {**code, "tokenizer_class": "LlamaTokenizer"})
    text = (folder / "config.json").read_text() + (folder / "tokenizer_config.json").read_text()
    assert "evil" not in text
    assert "/home" not in text
    assert read(folder / "config.json")["text_config"] == {"kept": 1}
    assert read(folder / "tokenizer_config.json") == {"tokenizer_class": "LlamaTokenizer"}


def test_what_transformers_5_renamed_is_named_as_before(tmp_path: Path) -> None:
    new = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<a>"]}
    old = {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<a>"]}
    assert read(staged(tmp_path, {}, new) / "tokenizer_config.json") == old


def test_absent_mtp_layers_are_denied(tmp_path: Path) -> None:
    config = {"num_nextn_predict_layers": 1, "text_config": {"mtp_num_hidden_layers": 1}}
    model = checkpoint.read_checkpoint(source(tmp_path / "source", config, {}))
    staged = staging.stage(model, tmp_path / "work", FACTS, without_mtp=True)
    staged_config = read(staged / "config.json")
    assert staged_config["num_nextn_predict_layers"] == 0
    assert staged_config["text_config"] == {"mtp_num_hidden_layers": 0}
    assert "mtp_num_hidden_layers" not in staged_config


def test_metadata_names_the_source_and_no_folder(tmp_path: Path) -> None:
    staging.write_metadata(tmp_path / "metadata.json", FACTS)
    metadata = read(tmp_path / "metadata.json")
    url = "https://huggingface.co/org/Tiny-4x1M"
    assert metadata["general.name"] == "Tiny-4x1M"
    assert metadata["general.source.repo_url"] == url
    assert metadata["general.source.url"] == f"{url}/tree/{FACTS.commit}"
    assert metadata["general.base_models"] == [
        {"name": "Tiny-4x1M", "organization": "org", "repo_url": url, "version": FACTS.commit}
    ]
    staging.write_metadata(tmp_path / "bare.json", ConvertFacts(name="Mine"))
    assert read(tmp_path / "bare.json") == {"general.name": "Mine"}


def test_code_is_noticed(tmp_path: Path) -> None:
    folder = source(tmp_path / "source", {}, {"auto_map": {"AutoTokenizer": ["evil.T", None]}})
    assert staging.names_code(checkpoint.read_checkpoint(folder))
    (folder / "tokenizer_config.json").write_text("{}")
    assert not staging.names_code(checkpoint.read_checkpoint(folder))


@pytest.mark.parametrize(
    "name", ["chat_template.jinja", "tokenizer.json", "deep/nested.txt", "unread.bin"]
)
def test_a_link_that_leads_out_of_the_folder_is_named(tmp_path: Path, name: str) -> None:
    """Its target's content would stand in the converted model."""
    folder, secret = source(tmp_path / "m", {}, {}), tmp_path / "token"
    secret.write_text("hf_secret")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)
    for look in (checkpoint.read_checkpoint, look_at_folder):
        with pytest.raises(SourceError, match=f"{Path(name).name} is a link that leads out of"):
            look(folder)


def test_links_within_and_those_of_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    cache = tmp_path / "models--lab--Tiny"
    (cache / "blobs").mkdir(parents=True)
    folder = source(cache / "snapshots" / "0123", {}, {})
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for number, path in enumerate(files):
        blob = cache / "blobs" / str(number)
        path.rename(blob)
        path.symlink_to(Path("../../blobs") / blob.name)
    assert checkpoint.read_checkpoint(folder).config
    outside = tmp_path / "models--lab--Other" / "blobs" / "0"
    outside.parent.mkdir(parents=True)
    outside.write_text("x")
    (folder / "x.txt").symlink_to(outside)
    with pytest.raises(SourceError, match="leads out of"):
        checkpoint.read_checkpoint(folder)
