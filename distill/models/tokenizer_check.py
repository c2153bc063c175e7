"""Whether a tokenizer can write what its model writes: text tokens that no text is encoded to.

A model was trained on some tokenizer's ids; the file beside its weights may be another's. Multilingual Whisper
checkpoints ship without the merge ``Ġ t``: " the" encodes as ``Ġ``, ``the``, which the model never writes.

Each token is judged by the model of its tokenizer alone (merges, or the pieces' scores), on the token's own spelling:
normalizers, pre-tokenizers and prefixes take no part, and neither need a token's bytes be whole characters. Nor does
the look-up of whole words before any merge (`ignore_merges`, as Llama 3 and Voxtral have it): it finds a token that
stands alone whatever merges are missing, and inside a longer word it finds nothing.
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

Merge = tuple[str, str]
"""Two tokens that byte-pair encoding joins."""

TOLERATED = 1e-3
"""Share of unreachable tokens that published vocabularies may have by design: trained merges can preempt each other."""

TOLERATED_LOOKED_UP = 1e-2
"""The same where whole words are looked up first, so that merges need not make them: of Llama 3's tokens 0.5 %."""

EXAMPLES = 4
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class TokenizerWarning(UserWarning):
    """A tokenizer that was mended, or that does not encode texts as its model writes them."""


@dataclass(frozen=True)
class TokenizerCheck:
    """What was found of a tokenizer when it was loaded, and done.

    Attributes:
        n_tokens: Text tokens that were judged, control and added tokens apart; 0 for kinds that cannot be judged.
        unreachable: Ids of those that their own spelling is not encoded to, after mending; where whole words are looked
            up first, of those that merges do not make, if they are more than published vocabularies have.
        unmade: Ids of those among them that no merge makes, which is a fault of the file.
        merges: The merges that were missing and were put back.
        kind: `BPE`, `Unigram`, …; a Unigram model may well prefer two pieces to one, which is no fault.
    """

    n_tokens: int
    unreachable: tuple[int, ...] = ()
    unmade: tuple[int, ...] = ()
    merges: tuple[Merge, ...] = ()
    kind: str = ""

    @property
    def is_faulty(self) -> bool:
        """Whether texts are encoded otherwise than the model was trained to write, as far as the file shows."""
        return bool(self.unmade) or (self.kind == "BPE" and len(self.unreachable) > TOLERATED * self.n_tokens)

    def to_dict(self) -> dict[str, Any]:
        """As `resolved.json` holds it."""
        return {
            "text_tokens": self.n_tokens,
            "unreachable": len(self.unreachable),
            "share_unreachable": len(self.unreachable) / self.n_tokens if self.n_tokens else None,
            "merges_put_back": [list(merge) for merge in self.merges],
        }


def check_tokenizer(tokenizer: Any) -> TokenizerCheck:
    """Judge every text token of a tokenizer, and mend it in place where what is missing is certain.

    Certain means: merges make their tokens in the order of the tokens' ids, for each token that no merge makes there is
    exactly one pair of existing tokens that spells it, and with these merges, each at the place of its token's id,
    every text token's own spelling is encoded to it (where whole words are looked up first: by merges alone, but for
    as many as published vocabularies have).

    Args:
        tokenizer: Of transformers; what it saves from then on is mended.

    Returns:
        What was found and done.

    Warns:
        TokenizerWarning: It was mended, or is faulty and cannot be mended for certain.
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
        missing = _certain(description["vocab"], merges, unmade)
        mended = _with(tree, merges, missing) if missing else None
        if mended is not None and len(_unreachable(mended, pieces)) <= by_design:
            backend.model = mended.model
            found = TokenizerCheck(len(pieces), merges=tuple(missing), kind=kind)
        elif unmade or len(unreachable) > by_design:
            found = TokenizerCheck(len(pieces), tuple(unreachable.values()), tuple(unmade.values()), kind=kind)
        else:
            found = TokenizerCheck(len(pieces), kind=kind)
    _tell(tokenizer, found, len(unreachable), looked_up)
    return found


def _text_pieces(tree: Mapping[str, Any]) -> dict[str, int]:
    """Ids of the model's own tokens of text, by spelling."""
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
    """The tokens that merges, or the pieces' scores, do not make of their own spelling."""
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


def _certain(vocabulary: Mapping[str, int], merges: Sequence[Merge], unmade: Mapping[str, int]) -> list[Merge]:
    """The merges that are missing; none unless there is one way to make each token, and one place to put it."""
    ids = [vocabulary.get(left + right, -1) for left, right in merges]
    # Tokenizers made from tables of tokens list every pair that makes a token, one behind the other.
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


def _with(tree: Mapping[str, Any], merges: Sequence[Merge], missing: Sequence[Merge]) -> Tokenizer:
    """The tokenizer with further merges, each where the id of its token belongs."""
    vocabulary = tree["model"]["vocab"]
    ranked = sorted((*merges, *missing), key=lambda merge: vocabulary[merge[0] + merge[1]])
    model = {**tree["model"], "merges": [list(merge) for merge in ranked]}
    return Tokenizer.from_str(json.dumps({**tree, "model": model}))


def _tell(tokenizer: Any, found: TokenizerCheck, before: int, looked_up: bool) -> None:
    inside = " inside longer words" if looked_up else ""
    name, n = getattr(tokenizer, "name_or_path", "") or "a tokenizer", found.n_tokens
    if found.merges:
        merges = ", ".join(f"{left} {right}" for left, right in found.merges)
        warnings.warn(
            f"the tokenizer of {name} lacked {len(found.merges)} of its merges ({merges}), so that {before:,} of its "
            f"{n:,} text tokens ({before / n:.1%}) were never encoded to{inside}; they were put back; checkpoints hold "
            "them",
            TokenizerWarning,
            stacklevel=3,
        )
    elif found.is_faulty:
        spelled = tokenizer.convert_ids_to_tokens(list(found.unreachable[:EXAMPLES]))
        warnings.warn(
            f"the tokenizer of {name} never encodes to {before:,} of its {n:,} text tokens ({before / n:.1%}){inside}, "
            f"such as {', '.join(map(repr, spelled))}, and what its file lacks is not certain. Its model may write "
            "them: texts that are encoded are then not what it writes. Look for the tokenizer that it was trained with",
            TokenizerWarning,
            stacklevel=3,
        )
