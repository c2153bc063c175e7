"""A teacher behind a server: it transcribes, and returns top-k log-probabilities at each position of a transcript."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..models.base import Limits, Prompt, Transcripts, pack, refuse_context
from ..models.language_prefix import LONGEST
from ..models.speech_lm import SpeechLM
from ..models.vocabulary import Tokens
from .api import Api, Question, Written
from .cache import TopkCache, key_of
from .conversation import Conversation, conversation
from .errors import ServerError
from .json_client import JsonClient
from .local_tokenizer import served_tokens
from .topk_logprobs import Reply, ReplyError, TopkLogprobs


@dataclass(frozen=True)
class ServedPrompt(Prompt):
    """Utterances in the form in which they are sent to a server."""

    waveforms: tuple[np.ndarray, ...] = ()
    conversations: tuple[Conversation, ...] = ()

    @property
    def batch_size(self) -> int:
        """Number of utterances."""
        return len(self.waveforms)


@dataclass(eq=False)
class ServedTeacher:
    """A transcriber whose weights are behind a server.

    Attributes:
        reader: Its tokenizer and processor.
        client: Asks the server.
        api: The server's protocol.
        served_name: The server's name of the model.
        root: The model's source as reported by the server; part of the cache's keys.
        n_topk: Log-probabilities requested at each position.
        cache: Answers on disk; None keeps none.
        max_length: Maximum tokens of prompt and transcript together; None if the server does not report it.
    """

    reader: SpeechLM
    client: JsonClient
    api: Api
    served_name: str
    root: str
    n_topk: int
    cache: TopkCache | None = None
    max_length: int | None = None
    reads: Literal["audio", "prompt"] = "audio"
    name: str = field(init=False)
    tokens: Tokens = field(init=False)
    text_prefix: bytes = field(init=False)
    _conversations: dict[tuple[str | None, str | None], Conversation] = field(
        default_factory=dict, init=False, repr=False
    )
    _openings: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.name, self.text_prefix = self.reader.name, self.reader.text_prefix
        self.tokens = served_tokens(self.reader)
        self.n_topk = min(self.n_topk, self.tokens.size)

    @property
    def family(self) -> str:
        """`model_type` of its configuration."""
        return self.reader.family

    @property
    def tokenizer(self) -> Any:
        """The local one."""
        return self.reader.tokenizer

    @property
    def prompt_key(self) -> Hashable:
        """Waveforms are sent unchanged."""
        return "served", self.client.url, self.name

    @property
    def takes_context(self) -> bool:
        """Whether its prompt has a place for an utterance's context."""
        return self.reader.takes_context

    @property
    def names_language(self) -> bool:
        """Whether it names the language itself if none is given."""
        return self.reader.names_language

    @property
    def limits(self) -> Limits:
        """Limits that the server reports, audio included."""
        return Limits(label_tokens=self.max_length)

    def check_languages(self, languages: Sequence[str | None]) -> None:
        """Refuse languages that the local processor does not support, one by one, because requests are single.

        Raises:
            ModelError: Says which.
        """
        for language in languages:
            self.reader.check_languages([language])

    def prompt_tokens(self, read: Any, language: str | None, context: str | None) -> int:
        """Return the number of tokens of the local processor's request."""
        return self.reader.prompt_tokens(read, language, context)

    def prepare(
        self,
        inputs: Sequence[Any],
        languages: Sequence[str | None],
        contexts: Sequence[str | None] | None = None,
    ) -> ServedPrompt:
        """Return the data to send: waveforms, and a conversation with language and context for each.

        If no language is given and the family names it before the text, the server is first asked for the opening of
        each utterance; it then reads transcripts after its own opening.

        Raises:
            InputError: A context that the family does not support.
            ServerError: No answer.
        """
        if not self.takes_context:
            refuse_context(self.name, contexts)
        asked = list(zip(languages, contexts or [None] * len(inputs), strict=True))
        for each in asked:
            if each not in self._conversations:
                self._conversations[each] = conversation(self.reader, *each)
        found = [self._conversations[each] for each in asked]
        prompt = ServedPrompt({}, (), tuple(inputs), tuple(found))
        unnamed = [row for row, language in enumerate(languages) if language is None]
        if self.names_language and unnamed:
            questions = self.questions(prompt)
            begun = self.client.many(self._opening, [questions[row] for row in unnamed])
            for row, words in zip(unnamed, begun, strict=True):
                found[row] = replace(found[row], prefill=found[row].prefill + words)
        return replace(prompt, conversations=tuple(found))

    def _opening(self, question: Question) -> str:
        """Return the opening with which the server names the language before the text; empty if it does not."""
        opening = self.reader.kind.opening
        assert opening is not None
        key = key_of({"conversation": asdict(question.conversation)}, question.waveform)
        if key not in self._openings:
            written = self._written(question, LONGEST, 0.0)
            text = written.text if written.ids is None else self.tokenizer.decode(written.ids)
            self._openings[key] = opening.found_in(text)
        return self._openings[key]

    def prompt_text(self, prompt: Prompt, row: int) -> str:
        """Return the chat that the server renders, the audio's placeholder not expanded."""
        assert isinstance(prompt, ServedPrompt)
        return prompt.conversations[row].rendered(self.reader.processor, "")

    def questions(self, prompt: Prompt) -> list[Question]:
        """Return a question for each utterance of a prompt."""
        assert isinstance(prompt, ServedPrompt)
        names = prompt.utterances or [f"number {row} of the batch" for row in range(prompt.batch_size)]
        return [Question(*each) for each in zip(names, prompt.waveforms, prompt.conversations, strict=True)]

    def encode(self, texts: Sequence[str]) -> Transcripts:
        """Return token ids of the texts by the local tokenizer, each closed by the end of text."""
        return self.reader.encode(texts)

    def decode(self, transcripts: Transcripts) -> list[str]:
        """Return texts, without control tokens."""
        return self.reader.decode(transcripts)

    def rollout(
        self, prompt: Prompt, *, max_new_tokens: int, sample: bool = False, temperature: float = 1.0
    ) -> Transcripts:
        """Return the server's own transcripts, by ordinary generation, which does not suppress control tokens.

        Raises:
            ServerError: An utterance without a transcript.
        """
        heat = temperature if sample else 0.0

        written = self.client.many(lambda each: self._written(each, max_new_tokens, heat), self.questions(prompt))
        packed = pack([self._ids(each) for each in written], self.tokens.end_of_text)
        return replace(packed, is_encoded=any(each.ids is None for each in written))

    def topk_logprobs(self, prompt: Prompt, texts: Sequence[str], transcripts: Transcripts) -> tuple[Tensor, Tensor]:
        """Return top-k log-probabilities at each position of transcripts.

        Args:
            prompt: The utterances.
            texts: The transcripts as text, in which form they are sent.
            transcripts: The same in the local tokenizer's tokens.

        Returns:
            [batch, length, m] ids, −1 where there is no position, and float64 log-probabilities over the full
            vocabulary at temperature 1, best first.

        Raises:
            ServerError: No answer, or not what was asked for: other tokens, fewer or more of them.
        """
        questions = self.questions(prompt)
        rows = [row[keep].tolist() for row, keep in zip(transcripts.ids, transcripts.mask, strict=True)]
        tokens = [
            row[:-1] if end else row for row, end in zip(rows, transcripts.finished.tolist(), strict=True)
        ]  # log-probabilities after the text exist even if the text is truncated
        asked = list(zip(questions, texts, tokens, strict=True))
        answers = self.client.many(lambda each: self._topk_logprobs(*each), asked)
        length = transcripts.ids.shape[1]
        ids = torch.full((len(answers), length, self.n_topk), -1, dtype=torch.long)
        logprobs = torch.zeros(len(answers), length, self.n_topk, dtype=torch.float64)
        for row, found in enumerate(answers):
            n = min(length, len(found.ids))
            ids[row, :n] = torch.from_numpy(found.ids[:n])
            logprobs[row, :n] = torch.from_numpy(found.logprobs[:n])
        return ids, logprobs

    def reply(self, question: Question, text: str, n_tokens: int, m: int) -> Reply:
        """Return the server's scores of one transcript, not checked and not cached.

        Raises:
            ServerError: No answer in the protocol's form.
        """
        try:
            return self.api.score(self.client, self.served_name, question, text, n_tokens, m)
        except ReplyError as error:
            raise self._server_error(error, question) from error

    def _written(self, question: Question, max_new_tokens: int, heat: float) -> Written:
        """Return the server's transcript of one utterance, its tokens checked."""
        try:
            written = self.api.write(self.client, self.served_name, question, max_new_tokens, heat)
            if written.ids is not None:
                _check_written(written.ids, max_new_tokens, self.tokens.size)
        except ReplyError as error:
            raise self._server_error(error, question) from error
        return written

    def _topk_logprobs(self, question: Question, text: str, tokens: list[int]) -> TopkLogprobs:
        settings = {
            "format": 1,
            "api": self.api.name,
            "model": [self.served_name, self.root],
            "listed": self.n_topk,  # part of the key of all cached answers
            "conversation": {name: value for name, value in asdict(question.conversation).items() if value is not None},
            "text": text,
            "tokens": tokens,
        }
        key = key_of(settings, question.waveform)
        if self.cache is not None:
            kept = self.cache.load(key)
            if kept is not None and kept.fits(len(tokens), self.n_topk, self.tokens.size):
                return kept
        reply = self.reply(question, text, len(tokens), self.n_topk)
        try:
            best = TopkLogprobs.from_reply(reply, tokens, self.n_topk, self.tokens.strings)
        except ReplyError as error:
            raise self._server_error(error, question) from error
        if self.cache is not None:
            self.cache.save(key, best)
        return best

    def _ids(self, written: Written) -> list[int]:
        """Return the tokens written, up to and including the first end of text."""
        end = self.tokens.end_of_text
        ids = written.ids
        if ids is None:
            encoded = self.encode([written.text])
            ids = encoded.ids[0][encoded.mask[0]].tolist()
        ids = ids[: ids.index(end)] if end in ids else list(ids)
        while ids and ids[-1] in self.reader.tokenizer.all_special_ids:  # another token that ends a turn
            ids.pop()
        return [*ids, end] if written.finished else ids

    def _server_error(self, error: ReplyError, question: Question) -> ServerError:
        return ServerError(f"{self.client.url} ({self.api.name}), utterance {question.name!r}: {error}.")


def _check_written(ids: Sequence[int], most: int, size: int) -> None:
    """Refuse tokens that the model cannot have written."""
    if len(ids) > most:
        raise ReplyError(f"a transcript of {len(ids)} tokens, asked for at most {most}; check the server")
    for place, token in enumerate(ids):
        if not 0 <= token < size:
            raise ReplyError(
                f"token {place} of its transcript is {token}, none of the {size} of the local model (ids 0 to "
                f"{size - 1}): the server has another model than the local tokenizer. Name as teacher the checkpoint "
                "that is served"
            )
