"""The tokenizer that comes with the library gives the ids of the host's, whatever the text."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saeuron.miniature.loading import PROMPTS_FOLDER
from saeuron.miniature.tokenizer import END, MERGES, START, load_tokenizer, read_merges, vocabulary
from saeuron.prompts import read_prompts
from tools.host.unpack import host_path

FOLDER = host_path() / "comfy" / "sd1_tokenizer"
OURS = load_tokenizer()
PIECES = st.one_of(
    st.text(max_size=40),
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=20),
    st.sampled_from(
        [START, END, END.upper(), "</w>", " ", "\n", "'s", "'LL", "1234", "(a cat:1.2)", "e\u0301", "猫", "ﬁ"]
    ),
)


@pytest.fixture(scope="module")
def theirs():
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(FOLDER))
    return lambda texts: tokenizer(texts, padding="max_length", max_length=77, truncation=True).input_ids


def ours(texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in OURS.encode_batch(texts)]


def test_the_merges_are_the_hosts_and_its_vocabulary_follows_from_them():
    assert MERGES.read_bytes() == (FOLDER / "merges.txt").read_bytes()
    assert vocabulary(read_merges()) == json.loads((FOLDER / "vocab.json").read_text(encoding="utf-8"))


def test_every_prompt_of_the_miniature_has_the_hosts_ids(theirs):
    prompts = [prompt for path in PROMPTS_FOLDER.rglob("*.txt") for prompt in read_prompts(path)]
    assert len(prompts) >= 1500
    assert ours(prompts) == theirs(prompts)


def test_every_token_of_the_vocabulary_read_as_text_has_the_hosts_ids(theirs):
    words = [token.removesuffix("</w>") for token in vocabulary(read_merges())]
    assert ours(words) == theirs(words)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=12).map("".join), min_size=1, max_size=20))
@example(["", " ", END, END.upper(), f"a{START}b", "a" * 400, "\u2028", "\x00", "🐈‍⬛", "İ", "ß" * 80])
def test_any_text_has_the_hosts_ids(theirs, texts):
    assert ours(texts) == theirs(texts)
