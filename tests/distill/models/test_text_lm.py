"""Text models: prompts in each model's own format, ends of text, exact scores, and pairs from the command line."""

import json
import math

import jiwer
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from distill import ManifestError, Observer, Utterance, read_manifest, resume, train, write_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.evaluation.evaluation import evaluate
from distill.models import ModelError, load_recognizer
from distill.probing.probe import probe
from distill.probing.show import show
from distill.recipe import Decoding, Recipe, SupportSettings
from distill.scoring.pair import Pair
from distill.training.stage_data import stage_sampler
from tests.distill.small_models import save_gpt2, save_llama, save_qwen3
from tests.distill.test_cli import as_toml, run

SOURCE = AudioSource(AudioCache())
OTHER_MERGES = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("o", "n")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("text models")


@pytest.fixture(scope="module")
def qwen3(folder):
    return str(save_qwen3(folder / "qwen3"))


@pytest.fixture(scope="module")
def gpt2(folder):
    return str(save_gpt2(folder / "gpt2"))


@pytest.fixture(scope="module")
def llama(folder):
    return str(save_llama(folder / "llama"))


def read(model, prompt, row=0, **options):
    recognizer = load_recognizer(model, options=options)
    return recognizer.prompt_text(recognizer.prepare(prompt, [None] * len(prompt)), row)


class TestPrompts:
    def test_a_string_is_one_user_turn_where_there_is_a_template(self, qwen3):
        ids = load_recognizer(qwen3).prepare(["call me", "x"], [None] * 2).inputs
        for row, text in enumerate(["call me", "x"]):
            expected = AutoTokenizer.from_pretrained(qwen3).apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True
            )["input_ids"]
            assert ids["input_ids"][row][ids["attention_mask"][row].bool()].tolist() == expected

    def test_a_string_is_read_as_it_is_where_there_is_none_or_none_is_wanted(self, gpt2, qwen3, llama):
        assert read(gpt2, ["call me"]) == "call me"
        assert read(qwen3, ["call me"], prompt_format="plain") == "call me"
        assert read(llama, ["call me"], prompt_format="plain") == "<s> call me"

    def test_messages_are_the_whole_chat_and_a_begun_answer_is_continued(self, qwen3):
        chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}]
        assert read(qwen3, [chat]) == (
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n"
        )
        assert read(qwen3, [[*chat, {"role": "assistant", "content": "The"}]]).endswith("assistant\nThe")

    def test_variables_reach_the_template(self, qwen3):
        text = read(qwen3, ["?"], chat_template_kwargs={"enable_thinking": False})
        assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")

    @pytest.mark.parametrize(
        ("prompt", "options", "message"),
        [
            (
                [{"role": "user", "content": "?"}],
                {"prompt_format": "plain"},
                'prompt_format = "plain"; write it as a s',
            ),
            ([{"role": "judge", "content": "?"}], {}, "refuses its prompt: no role judge"),
            ("x" * 500, {}, r"its prompt has 5\d\d tokens, the context of .* only 320; shorten the prompt"),
        ],
    )
    def test_a_prompt_that_a_model_cannot_take_is_named(self, qwen3, prompt, options, message):
        batch = SOURCE.batch([Utterance("fine", prompt="?"), Utterance("odd", prompt=_frozen(prompt))])
        with pytest.raises(ModelError, match=rf"^utterance 'odd': .*{message}"):
            batch.prompt(load_recognizer(qwen3, options=options))

    def test_chats_need_a_template(self, gpt2):
        batch = SOURCE.batch([Utterance("u1", prompt=({"role": "user", "content": "?"},))])
        with pytest.raises(ModelError, match=r"utterance 'u1': .* has no chat template; write it as a string"):
            batch.prompt(load_recognizer(gpt2))
        with pytest.raises(ModelError, match='has no chat template; set prompt_format = "plain"'):
            load_recognizer(gpt2, options={"prompt_format": "chat"})

    def test_a_completion_that_does_not_fit_the_context_is_refused(self, gpt2):
        recognizer = load_recognizer(gpt2)
        prompt = recognizer.prepare(["call me"], [None])
        with pytest.raises(
            ModelError, match=r"completion have 69 tokens, .* context is 64; lower max_new_tokens.*'call me'"
        ):
            recognizer.score(prompt, recognizer.encode(["x" * 61]))
        written = recognizer.rollout(prompt, max_new_tokens=500)
        assert written.ids.shape[1] <= 64 - 7
        recognizer.score(prompt, written)


def _frozen(prompt):
    return prompt if isinstance(prompt, str) else tuple(prompt)


class TestEndOfText:
    def test_it_is_the_turn_end_of_a_chat_and_the_tokenizers_own_otherwise(self, qwen3, gpt2, llama):
        def end(model, **options):
            tokens = load_recognizer(model, options=options).tokens
            return tokens.strings[tokens.end_of_text]

        assert end(qwen3) == "<|im_end|>"
        assert end(qwen3, end_of_text="<|endoftext|>") == "<|endoftext|>"
        assert end(gpt2) == "<|endoftext|>"
        assert end(llama) == end(llama, prompt_format="plain") == "</s>"

    def test_the_template_overrules_the_tokenizer(self, qwen3, tmp_path):
        tokenizer = AutoTokenizer.from_pretrained(qwen3)
        tokenizer.eos_token = "<|endoftext|>"
        model = AutoModelForCausalLM.from_pretrained(qwen3)
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        chat, plain = (load_recognizer(str(tmp_path), options={"prompt_format": f}) for f in ("chat", "plain"))
        assert chat.tokens.strings[chat.tokens.end_of_text] == "<|im_end|>"
        assert plain.tokens.strings[plain.tokens.end_of_text] == "<|endoftext|>"
        # A template that leaves the turn open, as GLM's does: the next turn's mark is none that the model writes.
        tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% endfor %}"
        tokenizer.save_pretrained(tmp_path)
        open_ = load_recognizer(str(tmp_path))
        assert open_.tokens.strings[open_.tokens.end_of_text] == "<|endoftext|>"

    def test_without_one_in_the_tokenizer_the_generation_settings_say_it(self, gpt2, tmp_path):
        tokenizer = AutoTokenizer.from_pretrained(gpt2)
        tokenizer.eos_token = None
        model = AutoModelForCausalLM.from_pretrained(gpt2)
        model.generation_config = GenerationConfig(eos_token_id=[7, 8])
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        assert load_recognizer(str(tmp_path)).tokens.end_of_text == 7
        (tmp_path / "generation_config.json").write_text("{}")
        config = json.loads((tmp_path / "config.json").read_text()) | {"eos_token_id": None}
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match=r"no end of sequence.*name a token in the model's end_of_text"):
            load_recognizer(str(tmp_path))

    def test_other_ends_are_blocked_and_tokens_merely_added_are_not(self, qwen3):
        recognizer = load_recognizer(qwen3)
        blocked = {recognizer.tokens.strings[i] for i in recognizer.tokens.blocked.nonzero().flatten().tolist()}
        assert blocked == {"<|endoftext|>", "<|im_start|>"}
        texts = ["<think>\nx\n</think> y"]
        assert recognizer.decode(recognizer.encode(texts)) == texts

    def test_an_unknown_token_is_refused(self, gpt2, qwen3, student_path):
        for model in (gpt2, qwen3, str(student_path)):
            with pytest.raises(ModelError, match=r"has no token '<\|done\|>' to end texts with"):
                load_recognizer(model, options={"end_of_text": "<|done|>"})


def test_scores_equal_the_models_own_forward_pass(qwen3):
    recognizer, model = load_recognizer(qwen3), AutoModelForCausalLM.from_pretrained(qwen3)
    prompts = ["call", "stop the train"]
    prompt, targets = recognizer.prepare(prompts, [None] * 2), recognizer.encode(["x y z", "8"])
    scores = recognizer.score(prompt, targets)
    for row in range(2):
        before = prompt.inputs["input_ids"][row][prompt.inputs["attention_mask"][row].bool()]
        after = targets.ids[row][targets.mask[row]]
        logits = model(input_ids=torch.cat([before, after])[None]).logits[0, len(before) - 1 : -1]
        ends, known = list(recognizer.tokens.ends), logits[:, : recognizer.tokens.size].clone()
        known[:, ends[0]] = logits[:, ends].exp().sum(-1).log()
        known[:, ends[1:]] = torch.finfo(known.dtype).min
        torch.testing.assert_close(scores[row, : len(after)], known, atol=1e-4, rtol=1e-4)


def test_a_greedy_rollout_is_the_argmax_whatever_the_checkpoints_settings(qwen3):
    """The small Qwen3 has a repetition penalty, a least length and sampling in its generation settings."""
    recognizer, model = load_recognizer(qwen3), AutoModelForCausalLM.from_pretrained(qwen3)
    settings = recognizer.generator.generation_config
    prompt = recognizer.prepare(["stop"], [None])
    written = recognizer.rollout(prompt, max_new_tokens=12)
    ids = prompt.inputs["input_ids"]
    for token in written.ids[0].tolist():
        logits = model(input_ids=ids).logits[0, -1, : recognizer.tokens.size]
        assert int(logits.masked_fill(recognizer.tokens.blocked, -torch.inf).argmax()) == token
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    assert recognizer.generator.generation_config is settings


class TestPairs:
    def test_each_side_reads_the_prompt_in_its_own_format(self, qwen3, gpt2):
        pair = Pair.from_models(load_recognizer(gpt2), load_recognizer(qwen3), 4)
        view = show(
            pair, SOURCE, Utterance("u", prompt="the", text="x"), SupportSettings(k=4), Decoding(), states="reference"
        )
        assert view.prompts == ("the", "<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n")
        tokens = [(row["student_token"], row["teacher_token"], row["bin"]) for row in view.rows]
        assert tokens == [("x", "x", "used"), ("<|endoftext|>", "<|im_end|>", "used")]

    def test_same_format_and_tokenizer_share_one_prompt(self, qwen3, folder):
        other = load_recognizer(str(save_qwen3(folder / "other", seed=1)))
        batch, student = SOURCE.batch([Utterance("u", prompt="the")]), load_recognizer(qwen3)
        plain = load_recognizer(qwen3, options={"prompt_format": "plain"})
        silent = load_recognizer(qwen3, options={"chat_template_kwargs": {"enable_thinking": False}})
        assert batch.prompt(student) is batch.prompt(other)
        assert len({id(batch.prompt(model)) for model in (student, plain, silent)}) == 3

    @pytest.mark.parametrize("states", ["student", "teacher", "reference"])
    def test_probed_on_every_state_with_other_tokenizers(self, folder, llama, text_manifests, states):
        """Byte-level merges against sentencepiece pieces with a leading space of their own."""
        student = load_recognizer(str(save_gpt2(folder / "merged", merges=OTHER_MERGES)))
        utterances = read_manifest(text_manifests["probe"])
        pair, decoding = Pair.from_models(student, load_recognizer(llama), 4), Decoding(max_new_tokens=5)
        result = probe(pair, SOURCE, utterances, SupportSettings(k=4), decoding, states=states)
        assert sum(result.funnel.counts.values()) == result.funnel.total > 0
        assert result.funnel["used"] > 0
        rate = result.estimates["token_rate"]
        assert math.isnan(rate.value)
        assert rate.n_undefined == len(utterances)
        if states == "reference":
            # "▁s" holds the sentencepiece model's own space: the beginning of "seven" is not comparable.
            assert result.funnel["misaligned"] > 0

    def test_training_with_another_tokenizer_and_format(self, folder, llama, mini_text, tmp_path):
        student = save_gpt2(folder / "student", merges=OTHER_MERGES)
        mini_text |= {"student": {"model": str(student)}, "teacher": {"model": llama}}
        mini_text["stages"] = [stage | {"steps": 2} for stage in mini_text["stages"]]
        result = train(Recipe.model_validate(mini_text), tmp_path / "run")
        assert result.outcome == "finished"
        row = json.loads((result.path / "metrics.jsonl").read_text().splitlines()[-1])
        assert row["n_positions"] == row["funnel"]["used"] > 0
        assert 0 < row["overlap"]["teacher_mapped_mass"] <= 1

    def test_a_checkpoint_keeps_the_recipes_format(self, qwen3, mini_text, tmp_path):
        section = {"model": qwen3, "prompt_format": "plain", "end_of_text": "<|endoftext|>"}
        mini_text |= {"student": section, "teacher": None, "probe": None}
        mini_text["stages"] = [mini_text["stages"][0] | {"steps": 3}]

        class Stop(Observer):
            def step(self, row):
                if row["step"] == 2:
                    raise KeyboardInterrupt

        recipe = Recipe.model_validate(mini_text)
        whole = train(recipe, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "cut", observer=Stop())
        again = resume(tmp_path / "cut")
        assert (again.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def test_error_rates_of_completions_are_jiwers(qwen3, text_manifests):
    """Texts by generate() of transformers itself, rates by jiwer."""
    utterances = read_manifest(text_manifests["test"])
    recognizer = load_recognizer(qwen3)
    score = evaluate(recognizer, SOURCE, utterances, normalizer="none", decoding=Decoding(max_new_tokens=6)).score
    tokenizer, model = AutoTokenizer.from_pretrained(qwen3), AutoModelForCausalLM.from_pretrained(qwen3)
    model.generation_config = GenerationConfig()
    blocked = recognizer.tokens.suppressed(model.config.vocab_size)
    written = []
    for utterance in utterances:
        chat = [{"role": "user", "content": utterance.prompt}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(
            **ids, max_new_tokens=6, suppress_tokens=blocked, eos_token_id=tokenizer.eos_token_id, pad_token_id=0
        )
        written.append(tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
    references = [utterance.text for utterance in utterances]
    assert score.wer.value == pytest.approx(jiwer.wer(references, written))
    assert score.cer.value == pytest.approx(jiwer.cer(references, written))


def test_a_curriculum_begins_with_the_shortest(text_manifests, mini_text):
    mini_text["stages"][0] |= {"curriculum": {"steps": 9, "start_fraction": 0.25}, "batch_size": 6}
    stage = Recipe.model_validate(mini_text).stages[0]
    utterances = read_manifest(text_manifests["train"])
    first = stage_sampler(stage, utterances, (0, 0)).batch(0)
    longest = max(len(utterances[i].prompt + utterances[i].text) for i in first)
    assert longest <= sorted(len(u.prompt + u.text) for u in utterances)[5]


class TestWrongInputs:
    def test_an_audio_line_to_a_text_model(self, qwen3, manifests, mini, tmp_path, capsys):
        mini |= {"student": {"model": qwen3}, "teacher": {"model": qwen3}}
        with pytest.raises(ManifestError) as error:
            train(Recipe.model_validate(mini), tmp_path / "run")
        head, first, *_ = str(error.value).split("\n  ")
        assert f'{qwen3!r} (qwen3) reads prompt and 24 utterances have none; add the field "prompt" to' in head
        assert ".jsonl:1: utterance " in first
        arguments = ("--student", qwen3, "--teacher", qwen3, "--manifest", manifests["probe"])
        for verb in ("probe", "show"):
            code, _, err = run(verb, *arguments, "--k", 4, capsys=capsys)
            assert (code, "reads prompt and" in err) == (1, True)

    def test_a_prompt_line_to_a_speech_model(self, student_path, text_manifests, capsys):
        arguments = ("--model", student_path, "--manifest", text_manifests["test"])
        code, _, err = run("evaluate", *arguments, capsys=capsys)
        assert code == 1
        assert '(qwen3_asr) reads audio and 10 utterances have none; add the field "audio"' in err
        assert "utterance 'test-0'" in err
        batch = SOURCE.batch(read_manifest(text_manifests["test"])[:2])
        with pytest.raises(ManifestError, match=r"reads audio and 2 utterances have none"):
            batch.prompt(load_recognizer(str(student_path)))

    def test_a_setting_that_a_family_does_not_have(self, student_path):
        with pytest.raises(ModelError, match=r"a 'qwen3_asr' model has no setting prompt_format, only settings \["):
            load_recognizer(str(student_path), options={"prompt_format": "plain"})

    def test_a_model_whose_scores_depend_on_padding(self, gpt2, tmp_path):
        from transformers import BartConfig, BartForCausalLM

        sizes = {"d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 16}
        config = BartConfig(vocab_size=261, max_position_embeddings=32, **sizes)
        BartForCausalLM(config).save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(gpt2).save_pretrained(tmp_path)
        with pytest.raises(ModelError, match="a bart model takes no attention_mask or no position_ids, so padding"):
            load_recognizer(str(tmp_path), family="text")

    def test_template_variables_must_be_an_object(self, qwen3, text_manifests, capsys):
        arguments = ("--model", qwen3, "--manifest", text_manifests["test"], "--chat-template-kwargs", "enable")
        code, _, err = run("evaluate", *arguments, capsys=capsys)
        assert code == 1
        assert 'expected a JSON object, for instance {"enable_thinking": false}' in err


def test_a_line_with_both_gives_each_model_what_it_reads(qwen3, student_path, manifests, tmp_path):
    """A text teacher beside a speech student."""
    heard = read_manifest(manifests["probe"])[:3]
    both = [
        Utterance(u.id, u.audio, u.text, u.begin_time, u.end_time, u.language, prompt=f"Repeat: {u.text}")
        for u in heard
    ]
    write_manifest(tmp_path / "both.jsonl", both)
    pair = Pair.from_models(load_recognizer(str(student_path)), load_recognizer(qwen3), 4)
    result = probe(
        pair,
        SOURCE,
        read_manifest(tmp_path / "both.jsonl"),
        SupportSettings(k=4),
        Decoding(max_new_tokens=4),
        states="student",
    )
    assert result.funnel["used"] > 0
    assert result.estimates["token_rate"].n_undefined == 0


def test_the_verbs_on_a_text_pair(qwen3, folder, text_manifests, mini_text, tmp_path, capsys):
    teacher = save_qwen3(folder / "teacher", seed=3)
    pair = ("--student", qwen3, "--teacher", teacher, "--manifest", text_manifests["probe"], "--k", 4)
    short = ("--max-new-tokens", 5, "--json")
    code, out, _ = run("probe", *pair, *short, "--output", tmp_path / "trace.parquet", capsys=capsys)
    assert code == 0
    tree = json.loads(out)
    assert tree["summary"]["estimates"]["union_size"]["n_positions"] == tree["funnel"]["used"]
    assert tree["summary"]["estimates"]["token_rate"]["value"] is None
    silent = ("--chat-template-kwargs", '{"enable_thinking": false}')
    code, out, _ = run("show", *pair, *short, *silent, "--states", "reference", capsys=capsys)
    shown = json.loads(out)
    assert code == 0
    assert shown["student_prompt"].endswith("</think>\n\n")
    assert shown["text"] == shown["reference"]
    plain = ("--prompt-format", "plain")
    code, out, _ = run("evaluate", "--model", qwen3, *pair[4:6], *short, *plain, capsys=capsys)
    assert code == 0
    assert json.loads(out)["n_utterances"] == 8
    mini_text |= {"student": {"model": qwen3, "chat_template_kwargs": {"enable_thinking": False}}}
    mini_text |= {"teacher": {"model": str(teacher)}, "total_steps": 6}
    (tmp_path / "recipe.toml").write_text(as_toml(mini_text))
    code, out, _ = run("train", tmp_path / "recipe.toml", "--output", tmp_path / "run", capsys=capsys)
    assert code == 4  # its budget was spent before its last stage
    assert "VUSS" in out
