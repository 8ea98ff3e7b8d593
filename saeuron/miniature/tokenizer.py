"""CLIP's tokenizer from the list of its merges, so that the miniature reads prompts where there is no ComfyUI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .architecture import TEXT_CONFIG

MERGES = Path(__file__).parent / "vocabulary" / "merges.txt"
START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def load_tokenizer() -> Any:
    """A `tokenizers.Tokenizer`. Each text becomes as many ids as the text encoder reads: cut there, or filled up with
    the end token, as the host does.

    Built of parts, and not by transformers' ``CLIPTokenizer``, whose arguments changed between its versions, and which
    wants a file of 1 MB beside the merges that says nothing but what `vocabulary` makes of them.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.processors import RobertaProcessing

    merges = read_merges()
    ids = vocabulary(merges)
    tokenizer = Tokenizer(
        BPE(vocab=ids, merges=merges, unk_token=END, continuing_subword_prefix="", end_of_word_suffix=END_OF_WORD)
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (START, END)])
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.post_processor = RobertaProcessing(
        (END, ids[END]), (START, ids[START]), trim_offsets=False, add_prefix_space=False
    )
    length = TEXT_CONFIG["max_position_embeddings"]
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=ids[END], pad_token=END)
    return tokenizer


def read_merges() -> list[tuple[str, str]]:
    """What is joined to one token, the most frequent pair first."""
    _version, *lines = MERGES.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" ") for line in lines)
    return [(left, right) for left, right in pairs]


def vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Token -> id. In order of id: the 256 bytes, each of them at the end of a word, what the merges make, start and
    end."""
    characters = byte_characters()
    ends = [character + END_OF_WORD for character in characters]
    tokens = [*characters, *ends, *(left + right for left, right in merges), START, END]
    return {token: number for number, token in enumerate(tokens)}


def byte_characters() -> list[str]:
    """The character that stands for each byte, in order of their ids: first the bytes that are printable in Latin-1, as
    themselves, then the others as characters from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [*map(chr, printable), *(chr(256 + number) for number in range(256 - len(printable)))]
