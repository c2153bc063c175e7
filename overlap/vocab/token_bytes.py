"""The bytes that each token id of a tokenizer stands for.

Vocabularies are matched by bytes: ``Ġthe`` of a byte-level BPE and ``▁the`` of a sentencepiece model are both ``b"
the"``. How a tokenizer encodes bytes is read from its own description (decoder, pre-tokenizer and model), never guessed
from its tokens. Unknown kinds are refused. No tokenizer library is imported here.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overlap.arguments import whole_number
from overlap.errors import UserError

_REMEDY = "pass the table of bytes instead: a list of the bytes of every id, None where an id stands for no text"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenBytes(tuple[bytes | None, ...]):
    """Bytes by token id; None where an id stands for no text: control tokens, the unknown token, holes in the table.

    Attributes:
        spare: ids that the tokenizer itself never writes, because another id has the same bytes: the byte pieces
            ``<0x61>`` of sentencepiece where there is also ``a``. They are paired with another vocabulary last.
    """

    spare: frozenset[int]

    def __new__(cls, table: Iterable[bytes | None], spare: Iterable[int] = ()) -> "TokenBytes":  # noqa: D102
        made = super().__new__(cls, table)
        made.spare = frozenset(spare)
        return made


@dataclass(frozen=True)
class _Declared:
    """Token ids as a tokenizer describes them; later entries override earlier ones."""

    pieces: Sequence[tuple[int, bytes | None]]
    byte_pieces: set[int] = field(default_factory=set)
    added: Sequence[tuple[int, str]] = ()
    control: set[int] = field(default_factory=set)


def token_bytes(tokenizer: Any, *, control: Iterable[int] = ()) -> TokenBytes:
    """Return the bytes of every token id.

    Known kinds are byte-level BPE, sentencepiece-style pieces (``▁`` for the space, ``<0xNN>`` for single bytes; BPE
    and Unigram) and tables of bytes, in any of these forms:

    * a fast tokenizer of transformers (``backend_tokenizer``) or a ``tokenizers.Tokenizer`` (``to_str``);
    * a slow tokenizer with a ``byte_decoder``, or with a sentencepiece model at ``sp_model``;
    * a ``sentencepiece.SentencePieceProcessor``;
    * a ``tiktoken.Encoding``;
    * a mapping from bytes to rank, such as a ``.tiktoken`` file holds.

    The tokens of a text add up to the text *as the tokenizer normalizes it*: after NFC for Qwen, with a leading space
    for sentencepiece models that add one, with every literal ``▁`` a space if the tokenizer writes spaces so. Added
    tokens that are not special keep the UTF-8 of their text.

    >>> token_bytes({b"a": 0, b" b": 2})
    (b'a', None, b' b')

    Args:
        tokenizer: as above.
        control: further ids that stand for no text, for tokenizers that declare their markers as plain text.

    Returns:
        A tuple indexed by id, as long as the largest id + 1.

    Raises:
        UserError: if the kind is not known, or an id is no integer of at least 0 or has two tokens.
    """
    declared = _read(tokenizer)
    silent = {*declared.control, *control}
    ids = [i for i, _ in declared.pieces]
    every = [*ids, *(i for i, _ in declared.added), *silent]
    wrong = [i for i in every if (whole := whole_number(i)) is None or whole < 0]
    if wrong:
        raise UserError(f"tokenizer: expected token ids that are integers of at least 0, received {wrong[0]!r}")
    if len(set(ids)) < len(ids):
        twice, n = Counter(ids).most_common(1)[0]
        raise UserError(f"tokenizer: id {twice} has {n} tokens; {_REMEDY}")
    table: list[bytes | None] = [None] * (max(every, default=-1) + 1)
    for i, spelled in declared.pieces:
        table[i] = spelled or None
    for i, text in declared.added:
        table[i] = text.encode() or None
    for i in silent:
        table[i] = None
    written = {spelled for i, spelled in enumerate(table) if i not in declared.byte_pieces}
    return TokenBytes(table, (i for i in declared.byte_pieces if table[i] in written))


def _read(tokenizer: Any) -> _Declared:
    if isinstance(tokenizer, Mapping):
        return _read_ranks(tokenizer)
    if hasattr(tokenizer, "decode_single_token_bytes"):
        return _read_tiktoken(tokenizer)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(backend, "to_str"):
        return _read_description(json.loads(backend.to_str()), getattr(tokenizer, "all_special_ids", ()))
    if hasattr(tokenizer, "byte_decoder") or hasattr(tokenizer, "sp_model"):
        return _read_slow(tokenizer)
    if hasattr(tokenizer, "id_to_piece") and hasattr(tokenizer, "is_byte"):
        ids = range(tokenizer.get_piece_size())
        pieces = [(i, _sentencepiece(tokenizer, i)) for i in ids]
        return _Declared(pieces, {i for i in ids if tokenizer.is_byte(i)})
    raise UserError(f"tokenizer: {type(tokenizer).__name__} is not a known kind; {_REMEDY}")


def _read_ranks(ranks: Mapping[bytes, int]) -> _Declared:
    if not all(isinstance(token, bytes) for token in ranks):
        raise UserError(
            "tokenizer: a mapping must go from the bytes of each token to its id; strings do not determine bytes; "
            f"{_REMEDY}"
        )
    return _Declared([(i, token) for token, i in ranks.items()])


def _read_tiktoken(encoding: Any) -> _Declared:
    pieces = []
    for i in range(encoding.n_vocab):
        try:
            pieces.append((i, encoding.decode_single_token_bytes(i)))
        except KeyError:  # a hole in the table
            continue
    return _Declared(pieces, control={encoding.encode_single_token(name) for name in encoding.special_tokens_set})


def _read_slow(tokenizer: Any) -> _Declared:
    """Return a tokenizer of transformers in plain Python."""
    added = tokenizer.added_tokens_decoder
    own = list(tokenizer.get_vocab().items())
    byte_pieces = set()
    if hasattr(tokenizer, "byte_decoder"):
        spell = _byte_level(tokenizer.byte_decoder)
        pieces = [(i, spell(piece)) for piece, i in own]
    else:
        # Ids of the tokenizer and of its model may differ by an offset; the pieces are the same.
        model = tokenizer.sp_model
        pieces = [(i, _sentencepiece(model, model.piece_to_id(piece))) for piece, i in own]
        byte_pieces = {i for piece, i in own if model.is_byte(model.piece_to_id(piece))}
    special = {i for i, token in added.items() if token.special}
    texts = [(i, token.content) for i, token in added.items()]
    return _Declared(pieces, byte_pieces, texts, {*special, *tokenizer.all_special_ids})


def _sentencepiece(model: Any, i: int) -> bytes | None:
    if model.is_control(i) or model.is_unknown(i) or model.is_unused(i):
        return None
    piece = model.id_to_piece(i)
    return bytes([int(piece[3:5], 16)]) if model.is_byte(i) else piece.replace("▁", " ").encode()


def _read_description(tree: Mapping[str, Any], special: Iterable[int]) -> _Declared:
    """Return the JSON by which ``tokenizers`` describes a tokenizer."""
    model = tree["model"]
    if model["type"] not in ("BPE", "Unigram"):
        raise UserError(f"tokenizer: {model['type']} models do not say which bytes their tokens hold; {_REMEDY}")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise UserError(f"tokenizer: its model marks words by prefixes or suffixes; {_REMEDY}")
    if model["type"] == "Unigram":
        own = [(piece, i) for i, (piece, _) in enumerate(model["vocab"])]
        unknown = model.get("unk_id")
    else:
        own = list(model["vocab"].items())
        unknown = model["vocab"].get(model.get("unk_token"))
    tokens = tree["added_tokens"]
    added = [(token["content"], token["id"]) for token in tokens]
    control = {*special, *(token["id"] for token in tokens if token["special"])}
    if unknown is not None:
        control.add(unknown)
    steps = _decoder(tree)
    byte_pieces: dict[int, bytes] = {}
    if {step["type"] for step in steps} == {"ByteLevel"}:
        spell = _byte_level(BYTE_ALPHABET)
    else:
        spell = _escaped(_space(steps))
        if model.get("byte_fallback") or any(step["type"] == "ByteFallback" for step in steps):
            matches = ((i, _BYTE_PIECE.fullmatch(piece)) for piece, i in own)
            byte_pieces = {i: bytes([int(match[1], 16)]) for i, match in matches if match}
        # Pieces such as "▁▁" appear among the added tokens as well; their spaces are written in the model's way.
        known = set(own)
        added = [token for token in added if token not in known]
    pieces = [(i, byte_pieces.get(i) or spell(piece)) for piece, i in own]
    return _Declared(pieces, set(byte_pieces), [(i, text) for text, i in added], control)


def _decoder(tree: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the steps of the declared decoder; without a decoder, the steps of the pre-tokenizer that it would
    undo."""

    def steps(part: Mapping[str, Any] | None, inner: str) -> list[Mapping[str, Any]]:
        if part is None:
            return []
        return [s for p in part[inner] for s in steps(p, inner)] if part["type"] == "Sequence" else [part]

    before = steps(tree["pre_tokenizer"], "pretokenizers")
    return steps(tree["decoder"], "decoders") or [s for s in before if s["type"] in ("ByteLevel", "Metaspace")]


def _space(steps: list[Mapping[str, Any]]) -> str:
    """Return the character that a sentencepiece-style decoder turns into a space."""
    kinds = [step["type"] for step in steps]
    replaced = [(s["pattern"].get("String"), s["content"]) for s in steps if s["type"] == "Replace"]
    spaces = {s["replacement"] for s in steps if s["type"] == "Metaspace"} | {
        old for old, new in replaced if new == " "
    }
    known = set(kinds) <= {"Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"}
    if not known or any(new != " " for _, new in replaced) or len(spaces) != 1 or None in spaces:
        raise UserError(f"tokenizer: its decoder ({', '.join(kinds) or 'none'}) is of no known kind; {_REMEDY}")
    return spaces.pop()


def _escaped(space: str) -> Callable[[str], bytes]:
    return lambda piece: piece.replace(space, " ").encode()


def _byte_level(alphabet: Mapping[str, int]) -> Callable[[str], bytes]:
    def spell(piece: str) -> bytes:
        # A piece with any other character does not encode bytes: byte-level decoders then use its text.
        known = all(character in alphabet for character in piece)
        return bytes(alphabet[character] for character in piece) if known else piece.encode()

    return spell


def _alphabet() -> dict[str, int]:
    """Return the characters that byte-level BPE writes for the 256 bytes (GPT-2, Radford et al. 2019).

    Printable Latin-1 characters represent themselves; the other bytes get the characters from U+0100 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


BYTE_ALPHABET = _alphabet()
"""The byte that each character of a byte-level BPE token stands for."""
