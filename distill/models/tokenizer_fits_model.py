"""Checks whether a tokenizer fits its model: finds text tokens to which no text is encoded.

A model was trained with some tokenizer; the file beside its weights may be another one. Multilingual Whisper
checkpoints ship without the merge ``Ġ t``: " the" encodes as ``Ġ``, ``the``, which the model never writes.

Each token is checked on its own spelling with only the merges, or the pieces' scores, of the tokenizer: without
normalizers, pre-tokenizers and prefixes, and even if its bytes are not complete characters. The look-up of whole words
before merging (`ignore_merges` in Llama 3 and Voxtral) is not used either: it finds a separate word even if merges are
missing, but nothing inside a longer word.

Tokenizers of student and teacher are compared in `distill.scoring.pair`.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

from overlap.arguments import callers_level

Merge = tuple[str, str]
"""Two tokens that byte-pair encoding joins."""

TOLERATED = 1e-3
"""Share of unreachable tokens that published vocabularies may have by design: trained merges can preempt each other."""

TOLERATED_LOOKED_UP = 1e-2
"""The same share if whole words are looked up first and need no merges: 0.5 % of Llama 3's tokens."""

EXAMPLES = 4
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class TokenizerWarning(UserWarning):
    """A tokenizer that was repaired, or that does not encode texts as its model writes them."""


@dataclass(frozen=True)
class TokenizerCheck:
    """Result of checking, and possibly repairing, a tokenizer when it was loaded.

    Attributes:
        n_tokens: Number of text tokens that were checked, without control and added tokens; 0 for kinds that cannot be
            checked.
        unreachable: Ids of tokens to which their own spelling is not encoded, after repair. If whole words are looked
            up first: those that merges do not make, if they are more than in published vocabularies.
        unmade: Ids of unreachable tokens that no merge makes, which is an error in the file.
        merges: The missing merges that were restored.
        kind: `BPE`, `Unigram`, …; a Unigram model may prefer two pieces to one, which is not an error.
    """

    n_tokens: int
    unreachable: tuple[int, ...] = ()
    unmade: tuple[int, ...] = ()
    merges: tuple[Merge, ...] = ()
    kind: str = ""

    @property
    def is_faulty(self) -> bool:
        """Whether the file shows that texts are encoded differently from the model's training."""
        return bool(self.unmade) or (self.kind == "BPE" and len(self.unreachable) > TOLERATED * self.n_tokens)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as `resolved.json` holds it."""
        return {
            "text_tokens": self.n_tokens,
            "unreachable": len(self.unreachable),
            "share_unreachable": len(self.unreachable) / self.n_tokens if self.n_tokens else None,
            "merges_put_back": [list(merge) for merge in self.merges],
        }


def check_tokenizer(tokenizer: Any) -> TokenizerCheck:
    """Check every text token of a tokenizer, and repair it in place if the missing merges are certain.

    The missing merges are certain if three conditions hold. The existing merges make their tokens in the order of the
    tokens' ids. For each token that no merge makes, exactly one pair of existing tokens spells it. With these merges,
    each at the place of its token's id, every text token's own spelling is encoded to that token. (If the tokenizer
    looks up whole words first, the last condition is tested with merges alone, and allows as many exceptions as
    published vocabularies have.)

    Args:
        tokenizer: Of transformers; files that it saves afterwards are repaired too.

    Returns:
        The result.

    Warns:
        TokenizerWarning: It was repaired, or is faulty and cannot be repaired with certainty.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return TokenizerCheck(0)
    tree = json.loads(backend.to_str())
    description, kind = tree["model"], tree["model"]["type"]
    if kind not in ("BPE", "Unigram") or description.get("dropout"):  # dropout encodes at random
        return TokenizerCheck(0, kind=kind)
    pieces = _text_pieces(tree)
    unreachable = _unreachable(backend, pieces)
    looked_up = bool(description.get("ignore_merges"))
    by_design = TOLERATED_LOOKED_UP * len(pieces) if looked_up else 0
    found = TokenizerCheck(len(pieces), tuple(unreachable.values()), kind=kind)
    if kind == "BPE" and unreachable:
        merges = _merges(description["merges"])
        made = {left + right for left, right in merges}
        unmade = {piece: i for piece, i in unreachable.items() if piece not in made and len(piece) > 1}
        missing = _certain_merges(description["vocab"], merges, unmade)
        mended = _with_merges(tree, merges, missing) if missing else None
        if mended is not None and len(_unreachable(mended, pieces)) <= by_design:
            backend.model = mended.model
            found = TokenizerCheck(len(pieces), merges=tuple(missing), kind=kind)
        elif unmade or len(unreachable) > by_design:
            found = TokenizerCheck(len(pieces), tuple(unreachable.values()), tuple(unmade.values()), kind=kind)
        else:
            found = TokenizerCheck(len(pieces), kind=kind)
    _warn_of_findings(tokenizer, found, len(unreachable), looked_up)
    return found


def _text_pieces(tree: Mapping[str, Any]) -> dict[str, int]:
    """Return ids of the model's own tokens of text, by spelling."""
    model = tree["model"]
    own = (
        {piece: i for i, (piece, _) in enumerate(model["vocab"])}
        if model["type"] == "Unigram"
        else dict(model["vocab"])
    )
    unknown = model.get("unk_token")
    if model["type"] == "Unigram" and model.get("unk_id") is not None:
        unknown = model["vocab"][model["unk_id"]][0]
    apart = {token["content"] for token in tree["added_tokens"]} | {unknown, ""}
    return {
        piece: i
        for piece, i in own.items()
        if piece not in apart and not (model.get("byte_fallback") and _BYTE_PIECE.fullmatch(piece))
    }


def _unreachable(backend: Tokenizer, pieces: Mapping[str, int]) -> dict[str, int]:
    """Return the tokens that merges, or the pieces' scores, do not make from their own spelling."""
    model: Any = backend.model
    looked_up = getattr(model, "ignore_merges", False)
    if looked_up:
        model.ignore_merges = False
    try:
        return {piece: i for piece, i in pieces.items() if [token.id for token in model.tokenize(piece)] != [i]}
    finally:
        if looked_up:
            model.ignore_merges = True


def _merges(described: Iterable[Any]) -> list[Merge]:
    # Older files write a merge as one string.
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in described)
    return [(left, right) for left, right in pairs]


def _certain_merges(vocabulary: Mapping[str, int], merges: Sequence[Merge], unmade: Mapping[str, int]) -> list[Merge]:
    """Return the missing merges; empty unless there is exactly one merge for each token and one place for it."""
    ids = [vocabulary.get(left + right, -1) for left, right in merges]
    # Tokenizers made from tables of tokens list all pairs that make a token, one after the other.
    if not unmade or -1 in ids or any(first > second for first, second in pairwise(ids)):
        return []
    found = []
    for piece in sorted(unmade, key=unmade.__getitem__):
        halves = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
        ways = [(left, right) for left, right in halves if left in vocabulary and right in vocabulary]
        if len(ways) != 1:
            return []
        found += ways
    return found


def _with_merges(tree: Mapping[str, Any], merges: Sequence[Merge], missing: Sequence[Merge]) -> Tokenizer:
    """Return the tokenizer with additional merges, each in the order of its token's id."""
    vocabulary = tree["model"]["vocab"]
    ranked = sorted((*merges, *missing), key=lambda merge: vocabulary[merge[0] + merge[1]])
    model = {**tree["model"], "merges": [list(merge) for merge in ranked]}
    return Tokenizer.from_str(json.dumps({**tree, "model": model}))


def _warn_of_findings(tokenizer: Any, found: TokenizerCheck, before: int, looked_up: bool) -> None:
    inside = " inside longer words" if looked_up else ""
    name, n = getattr(tokenizer, "name_or_path", "") or "a tokenizer", found.n_tokens
    if found.merges:
        merges = ", ".join(f"{left} {right}" for left, right in found.merges)
        warnings.warn(
            f"the tokenizer of {name} lacked {len(found.merges)} of its merges ({merges}), so that {before:,} of its "
            f"{n:,} text tokens ({before / n:.1%}) were never encoded to{inside}; they were put back; checkpoints hold "
            "them",
            TokenizerWarning,
            stacklevel=callers_level(),
        )
    elif found.is_faulty:
        spelled = tokenizer.convert_ids_to_tokens(list(found.unreachable[:EXAMPLES]))
        warnings.warn(
            f"the tokenizer of {name} never encodes to {before:,} of its {n:,} text tokens ({before / n:.1%}){inside}, "
            f"such as {', '.join(map(repr, spelled))}, and what its file lacks is not certain. Its model may write "
            "them: texts that are encoded are then not what it writes. Look for the tokenizer that it was trained with",
            TokenizerWarning,
            stacklevel=callers_level(),
        )
