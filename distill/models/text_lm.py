"""Causal language models without audio (`AutoModelForCausalLM`): the completion continues a text prompt.

A prompt is a string or the messages of a chat. Each model wraps it in its own chat template; student and teacher may
use different formats. A completion is closed by the token with which the chat template closes the assistant's turn. For
plain prompts, or if the template closes nothing, it is the tokenizer's end of sequence, or else the first stop token of
the generation settings. The others of these are ends as well, and all are one event (`Tokens.further_ends`). Other
special tokens are blocked; added tokens that are not special, such as `<think>`, can be written.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jinja2 import TemplateError, TemplateSyntaxError
from torch import Tensor, nn
from transformers import LogitsProcessor

from . import causal, end_tokens
from .base import InputError, Limits, ModelError, Prompt, Transcripts, pack, refuse_context, without_progress_bars
from .vocabulary import Tokens, added_space

PromptFormat = Literal["auto", "chat", "plain"]


@dataclass
class TextLM:
    """A causal language model behind the recognizer's protocol.

    Attributes:
        processor: Its tokenizer.
        prompt_format: `chat` wraps prompts in the chat template, `plain` reads strings as they are, `auto` is `chat` if
            the tokenizer has a template.
        chat_template_kwargs: Further variables of the template, such as `enable_thinking`.
        end_of_text: The token that ends a completion; None takes the one of the format.
    """

    name: str
    model: nn.Module
    generator: Any
    processor: Any
    prompt_format: PromptFormat = "auto"
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    end_of_text: str | None = None
    reads: Literal["audio", "prompt"] = "prompt"
    text_prefix: bytes = field(init=False)
    tokens: Tokens = field(init=False)
    prompt_key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        tokenizer, template = self.tokenizer, self.tokenizer.chat_template
        if not {"attention_mask", "position_ids"} <= set(inspect.signature(self.generator.forward).parameters):
            raise ModelError(
                f"{self.name}: a {self.family} model takes no attention_mask or no position_ids, so padding would "
                "change its scores; choose another"
            )
        if self.prompt_format == "chat" and template is None:
            raise ModelError(f'{self.name}: its tokenizer has no chat template; set prompt_format = "plain"')
        self._chat = template is not None and self.prompt_format != "plain"
        if self._chat:
            self._check_template()
        turn = end_tokens.turn_end(tokenizer, self.chat_template_kwargs) if self._chat else None
        others = (turn, tokenizer.eos_token_id, *end_tokens.generation_ends(self.generator))
        end = end_tokens.end_of_text(self.name, tokenizer, self.end_of_text, *others)
        self.tokens = Tokens.from_tokenizer(tokenizer, self._width, end, self._device, added=True, ends=others)
        self._asked = causal.accepted_inputs(self.generator)
        self.text_prefix = added_space(tokenizer)
        wrapping = (
            (template, repr(self.chat_template_kwargs)) if self._chat else (tuple(tokenizer("a b")["input_ids"]),)
        )
        self.prompt_key = hash((*wrapping, self.tokens.strings, end, str(self._device)))

    def _check_template(self) -> None:
        """Refuse a template that omits the user's message, for example because it is truncated."""
        said, cut = "0123456789", "is cut short or another model's: copy chat_template.jinja again"
        try:
            read = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": said}],
                tokenize=False,
                add_generation_prompt=True,
                **self.chat_template_kwargs,
            )
        except TemplateSyntaxError:
            raise
        except TemplateError:  # a template for chats of another shape
            return
        if said not in read:
            raise ModelError(f"{self.name}: its chat template omits the user's message in {read[:60]!r}; it {cut}")

    @property
    def family(self) -> str:
        """`model_type` of its configuration."""
        return self.generator.config.model_type

    @property
    def takes_context(self) -> bool:
        """False: the prompt already contains everything."""
        return False

    @property
    def names_language(self) -> bool:
        """False: languages are not used."""
        return False

    @property
    def tokenizer(self) -> Any:
        """The processor itself."""
        return self.processor

    @property
    def _device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def _width(self) -> int:
        return self.generator.config.get_text_config().vocab_size

    @property
    def _context(self) -> int | None:
        """Positions that the model was made for."""
        return getattr(self.generator.config.get_text_config(), "max_position_embeddings", None)

    def freeze_encoder(self, cache_mib: float) -> None:
        """Does nothing: there is no audio encoder."""
        del cache_mib

    @property
    def limits(self) -> Limits:
        """What it can take."""
        return Limits(label_tokens=self._context)

    def check_languages(self, languages: Sequence[str | None]) -> None:
        """Accept every language, because prompts name none."""
        del languages

    def prompt_tokens(self, read: Any, language: str | None, context: str | None) -> int:
        """Return the number of tokens of a prompt in the model's format.

        Raises:
            ModelError: As :meth:`prepare`.
        """
        del language
        refuse_context(self.name, [context])
        return len(self._prompt_ids(0, read))

    def prepare(
        self,
        inputs: Sequence[Any],
        languages: Sequence[str | None],
        contexts: Sequence[str | None] | None = None,
    ) -> Prompt:
        """Return token ids of the prompts, each wrapped in the model's own format, left-padded; languages are not used.

        Args:
            inputs: Strings, or the messages of chats.
            languages: Of the same length.
            contexts: Must be None; the prompt contains everything.

        Raises:
            InputError: A context, a chat without a template, one that the template refuses, or a prompt that fills the
                model's context.
        """
        del languages
        refuse_context(self.name, contexts)
        rows = [self._prompt_ids(row, prompt) for row, prompt in enumerate(inputs)]
        width, end = max(map(len, rows), default=0), self.tokens.end_of_text
        ids = torch.tensor([[end] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        return Prompt({"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)})

    def _prompt_ids(self, row: int, prompt: str | Sequence[Mapping[str, Any]]) -> list[int]:
        if self._chat:
            ids = self._chat_ids(row, [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)
        elif isinstance(prompt, str):
            ids = self._plain_ids(prompt)
        else:
            why = "has no chat template" if self.tokenizer.chat_template is None else 'has prompt_format = "plain"'
            raise InputError(row, f"its prompt is a list of chat messages and {self.name} {why}; write it as a string")
        if not ids:
            raise InputError(row, f"{self.name}'s tokenizer makes no tokens of this prompt; write a non-empty prompt")
        if self._context is not None and len(ids) >= self._context:
            raise InputError(
                row,
                f"its prompt has {len(ids)} tokens, the context of {self.name} only {self._context}; shorten the "
                "prompt or leave the utterance out (prompts are never truncated silently)",
            )
        return ids

    def _plain_ids(self, prompt: str) -> list[int]:
        """Return a prompt with the tokens that the tokenizer adds before a text, without those it adds after: they
        would end it."""
        own = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        text = own or self.tokenizer("a", add_special_tokens=False)["input_ids"]  # nothing is between the two
        whole = self.tokenizer(prompt if own else "a")["input_ids"]
        starts = (i for i in range(len(whole) - len(text) + 1) if whole[i : i + len(text)] == text)
        start = next(starts, None)
        return whole if start is None else whole[: start + len(own)]

    def _chat_ids(self, row: int, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        goes_on = messages[-1]["role"] == "assistant"  # the answer's beginning is given, the model continues it
        try:
            encoded = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                add_generation_prompt=not goes_on,
                continue_final_message=goes_on,
                return_dict=True,
                **self.chat_template_kwargs,
            )
        except (TemplateError, ValueError) as error:
            raise InputError(row, f"the chat template of {self.name} refuses its prompt: {error}") from error
        return encoded["input_ids"]

    def prompt_text(self, prompt: Prompt, row: int) -> str:
        """Return the prompt as the model reads it, markers written out."""
        kept = prompt.inputs["attention_mask"][row].bool()
        return self.tokenizer.decode(prompt.inputs["input_ids"][row][kept].tolist(), skip_special_tokens=False)

    def encode(self, texts: Sequence[str]) -> Transcripts:
        """Return token ids of the completions, unchanged, each closed by the end of text."""
        end = self.tokens.end_of_text
        encoded = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
        return pack([[*ids, end] for ids in encoded], end, self._device)

    def room(self, prompt: Prompt) -> int | None:
        """Return the longest completion within the context; None if there is no limit."""
        return None if self._context is None else self._context - prompt.inputs["input_ids"].shape[1]

    def rollout(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int,
        sample: bool = False,
        temperature: float = 1.0,
        logits_processor: LogitsProcessor | None = None,
    ) -> Transcripts:
        """Return greedy or sampled completions, limited by the context."""
        room = self.room(prompt)
        return causal.rollout(
            self.generator,
            prompt,
            self.tokens,
            width=self._width,
            max_new_tokens=max_new_tokens if room is None else min(max_new_tokens, room),
            sample=sample,
            temperature=temperature,
            logits_processor=logits_processor,
        )

    def score(self, prompt: Prompt, transcripts: Transcripts) -> Tensor:
        """Return [batch, length, vocabulary] logits; position t predicts completion token t.

        Raises:
            ModelError: Prompt and completion together are longer than the context.
        """
        transcripts = transcripts.to(self._device)
        lengths = prompt.inputs["attention_mask"].sum(-1) + transcripts.mask.sum(-1)
        if self._context is not None and len(lengths) and int(lengths.max()) > self._context:
            row = int(lengths.argmax())
            raise ModelError(
                f"{self.name}: prompt and completion have {int(lengths[row])} tokens, its context is {self._context}; "
                f"lower max_new_tokens, or leave out the utterance that begins {self.prompt_text(prompt, row)[:60]!r}"
            )
        return causal.score(self.model, prompt, transcripts, self.tokens, self._asked)

    def decode(self, transcripts: Transcripts) -> list[str]:
        """Return completions as text, white space kept."""
        keep = transcripts.mask & (transcripts.ids != self.tokens.end_of_text)
        rows = [row[kept].tolist() for row, kept in zip(transcripts.ids, keep, strict=True)]
        return self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def save(self, directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """Save model and tokenizer by `save_pretrained`."""
        with without_progress_bars():
            self.generator.save_pretrained(directory, state_dict=state_dict)
            self.tokenizer.save_pretrained(directory)
