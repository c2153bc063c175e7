"""Hugging Face data sets wherever manifests are accepted, made in a temporary folder; nothing goes to the network."""

import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import distill
from distill import ManifestError, TrainingError, Utterance, read_manifest, read_utterances, utterances_from
from distill.cli import main
from distill.data.audio import AudioCache, AudioError, duration, load_audio
from distill.data.extract import extract_audio
from distill.data.hf.reference import DatasetReference
from distill.data.sources import identity
from distill.data.stored_audio import StoredAudio
from distill.recipe import Recipe, load_recipe
from distill.run.provenance import resolved_configuration
from overlap.version import SCHEMA

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def sound(seed: int, seconds: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(16000 * seconds)).astype(np.float32)


def encoded(samples: np.ndarray, container: str = "WAV", subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format=container, subtype=subtype)
    return file.getvalue()


def embedded(n: int = 3, **columns) -> "datasets.Dataset":
    """Rows with the bytes of wav files; `Audio` is marked, as on the Hub."""
    audio = [{"bytes": encoded(sound(i)), "path": f"{i}.wav"} for i in range(n)]
    rows = datasets.Dataset.from_dict({"audio": audio} | columns)
    return rows.cast_column("audio", datasets.Audio())


def refused(message: str):
    return pytest.raises(ManifestError, match=f"^{re.escape(message)}")


class TestRows:
    def test_rows_are_utterances_and_their_audio_is_decoded_exactly(self):
        found = utterances_from(embedded(id=["a", "b", "c"], text=["one", None, ""], speaker=["x", None, "y"]))
        assert [(u.id, u.text, u.extra) for u in found] == [
            ("a", "one", {"speaker": "x"}),
            ("b", None, {}),
            ("c", "", {"speaker": "y"}),
        ]
        for i, utterance in enumerate(found):
            np.testing.assert_array_equal(load_audio(utterance), sound(i))
            assert duration(utterance) == 0.5
        assert "torchcodec" not in sys.modules

    @pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS")])
    def test_every_format_is_decoded_as_from_a_file(self, tmp_path, container, subtype):
        content = encoded(sound(1, 3), container, subtype)
        (tmp_path / "file").write_bytes(content)
        (stored,) = utterances_from(datasets.Dataset.from_dict({"audio": [{"bytes": content, "path": None}]}))
        for times in ({}, {"begin_time": 0.7, "end_time": 1.9}):
            inside = load_audio(Utterance("u", stored.audio, **times))
            np.testing.assert_array_equal(inside, load_audio(Utterance("u", tmp_path / "file", **times)))

    def test_selected_and_shuffled_rows_keep_their_audio(self):
        rows = embedded(5, id=list("abcde")).shuffle(seed=3).select([4, 0, 2])
        for utterance in utterances_from(rows):
            np.testing.assert_array_equal(load_audio(utterance), sound("abcde".index(utterance.id)))

    def test_bytes_alone_and_paths_alone(self, tmp_path):
        (raw,) = utterances_from(datasets.Dataset.from_dict({"clip": [encoded(sound(7))]}), audio_column="clip")
        np.testing.assert_array_equal(load_audio(raw), sound(7))
        (tmp_path / "a.wav").write_bytes(encoded(sound(8)))
        for value in ("a.wav", {"bytes": None, "path": str(tmp_path / "a.wav")}):
            (path,) = utterances_from(datasets.Dataset.from_dict({"audio": [value]}), folder=tmp_path)
            assert path.audio == tmp_path / "a.wav"
            np.testing.assert_array_equal(load_audio(path), sound(8))

    def test_ids(self):
        def ids(values, **options):
            return [u.id for u in utterances_from(embedded(id=values), **options)]

        numbered = ["row-000000", "row-000001", "row-000002"]
        assert [u.id for u in utterances_from(embedded())] == numbered
        assert ids([7, 3, 5]) == ["7", "3", "5"]
        assert ids(["a", "b", "a"]) == numbered
        assert ids([0.5, 1.5, 2.5]) == numbered
        assert [u.id for u in utterances_from(embedded(key=list("xyz"), id=list("abc")), id_column="key")] == list(
            "xyz"
        )

    def test_languages(self):
        def languages(options=None, **columns):
            return [u.language for u in utterances_from(embedded(2, **columns), **(options or {}))]

        assert languages() == [None, None]
        assert languages(language=["English", None]) == ["English", None]
        assert languages({"language": "German"}, language=["English", None]) == ["German", "German"]
        assert languages({"language_column": "locale"}, locale=["de", "en"]) == ["de", "en"]
        labeled = embedded(2, language=[1, 0]).cast_column("language", datasets.ClassLabel(names=["de", "fr"]))
        assert [u.language for u in utterances_from(labeled)] == ["fr", "de"]

    def test_columns_of_times_are_not_read(self):
        (first, _) = utterances_from(embedded(2, begin_time=[3.0, 4.0], end_time=[4.0, 5.0], take=[1, 2]))
        assert (first.begin_time, first.end_time, first.extra) == (0, -1, {"take": 1})
        np.testing.assert_array_equal(load_audio(first), sound(0))

    def test_caches_know_rows_and_data_sets_apart(self):
        first, second = utterances_from(embedded(2))
        (other,) = utterances_from(datasets.Dataset.from_dict({"audio": [{"bytes": encoded(sound(9)), "path": None}]}))
        again = utterances_from(embedded(2))[0]
        assert first.audio == again.audio != second.audio
        assert hash(first) == hash(again)
        cache = AudioCache()
        for utterance, expected in ((first, 0), (second, 1), (other, 9), (again, 0)):
            np.testing.assert_array_equal(cache.load(utterance), sound(expected))
        assert (cache.hits, cache.misses) == (1, 3)


class TestRefusedRows:
    def test_what_is_no_single_split(self):
        with refused("DatasetDict: is a dictionary of splits; give one split, as in load_dataset(…, split='train')"):
            utterances_from(datasets.DatasetDict(a=embedded(1)))
        with refused("IterableDataset: is streamed; load it whole"):
            utterances_from(embedded(1).to_iterable_dataset())
        with refused("corpus: has no rows; choose another split or slice"):
            utterances_from(embedded(1).select([]), name="corpus")

    @pytest.mark.parametrize(
        ("columns", "options", "message"),
        [
            (
                {"text": list("abc")},
                {"text_column": "words"},
                "has no column 'words'; its columns are audio, text: choose",
            ),
            (
                {"text": list("abc"), "sentence": list("abc")},
                {},
                "text may be in text, sentence; choose with text_column=",
            ),
            ({"text": [1, 2, 3]}, {}, 'column "text" holds int64, not strings; choose another text_column'),
            ({"key": list("aba")}, {"id_column": "key"}, "row 2: column \"key\": 'a' is already used in row 0; choose"),
            ({"key": [0.5, 1, 2]}, {"id_column": "key"}, 'column "key" holds double, not strings or integers; choose'),
            ({"key": ["a", None, "b"]}, {"id_column": "key"}, 'row 1: column "id" is empty; give the utterance'),
            ({"locale": list("abc")}, {"language_column": "locale", "language": "x"}, "has language_column=locale and"),
            (
                {"take": [1, 2, 3]},
                {"audio_column": "take"},
                'column "take" holds int64, neither audio files nor their paths;',
            ),
            (
                {},
                {"audio_column": "clip"},
                "has no column 'clip'; its columns are audio: choose one with audio_column=…",
            ),
        ],
    )
    def test_columns_that_do_not_fit(self, columns, options, message):
        with pytest.raises(ManifestError, match=rf"^corpus(: |, ){re.escape(message)}"):
            utterances_from(embedded(**columns), name="corpus", **options)

    def test_audio_that_is_not_to_be_found(self, tmp_path):
        with refused("corpus: has no column with audio; its columns are clip: choose one with audio_column=…"):
            utterances_from(datasets.Dataset.from_dict({"clip": ["a.wav"]}), name="corpus")
        two = embedded(1, more=[{"bytes": b"", "path": "x"}]).cast_column("more", datasets.Audio())
        with refused("corpus: audio may be in audio, more; choose with audio_column=audio"):
            utterances_from(two, name="corpus")
        with refused('corpus, row 1: column "audio" holds neither bytes nor a path; leave the row out'):
            utterances_from(datasets.Dataset.from_dict({"audio": [b"x", None]}), name="corpus")
        gone = datasets.Dataset.from_dict({"audio": ["gone.wav"] * 12})
        with refused(
            f'corpus, row 0: column "audio" is {tmp_path}/gone.wav, a file that does not exist; correct the path\n'
        ) as e:
            utterances_from(gone, name="corpus", folder=tmp_path)
        assert str(e.value).endswith("… and 2 more")

    def test_bytes_that_are_no_audio(self):
        (utterance,) = utterances_from(datasets.Dataset.from_dict({"audio": [b"no audio"]}), name="corpus")
        with pytest.raises(AudioError, match=r"^utterance 'row-000000' \(corpus, row 0\): cannot be opened \("):
            load_audio(utterance)

    def test_without_the_library(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "datasets", None)
        message = (
            "hf:x:test needs the Python package datasets; install it with `pip install 'support-overlap[datasets]'`"
        )
        with pytest.raises(ImportError, match=re.escape(message)):
            read_utterances("hf:x:test")


class TestReferences:
    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("hf:openslr/librispeech_asr:clean:train.100", ("openslr/librispeech_asr", "clean", "train.100", {})),
            ("hf:a/b:test", ("a/b", None, "test", {})),
            ("hf:a/b", ("a/b", None, None, {})),
            ("hf:a/b:train[:10%]", ("a/b", None, "train[:10%]", {})),
            ("hf:a/b:de_de:train[10:20]+test", None),
            ("hf:a/b:de_de:train[10:20]", ("a/b", "de_de", "train[10:20]", {})),
            ("hf:C:\\data\\x:test", ("C:\\data\\x", None, "test", {})),
            ("hf:a/b:t?language=Haitian%20Creole", ("a/b", None, "t", {"language": "Haitian Creole"})),
            ("hf:a?text_column=s&id_column=k", ("a", None, None, {"text_column": "s", "id_column": "k"})),
        ],
    )
    def test_parts(self, text, parts):
        if parts is None:
            with refused(f"{text}: not a data set; write hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT"):
                DatasetReference.parse(text)
            return
        reference = DatasetReference.parse(text)
        assert (reference.name, reference.config, reference.split, reference.options) == parts
        assert str(reference) == text

    @given(
        st.text("abc/_-. é", min_size=1),
        st.text("ab_", min_size=1),
        st.dictionaries(st.sampled_from(["language", "revision"]), st.text(min_size=1)),
    )
    def test_what_is_written_is_read(self, name, split, options):
        reference = DatasetReference(name, None, split, options)
        assert DatasetReference.parse(str(reference)) == reference

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("hf:", "hf:: not a data set; write hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT"),
            ("hf:a:b:c:d", "hf:a:b:c:d: not a data set; write"),
            ("hf:a:t?text=x", "hf:a:t?text=x: unknown option text; did you mean text_column?"),
            ("hf:a:t?zzz=x", "hf:a:t?zzz=x: unknown option zzz; there are audio_column, text_column, id_column"),
            (
                "hf:a:t?language",
                "hf:a:t?language: bad query field: 'language'; write options as ?text_column=sentence&",
            ),
            ("hf:no/folder", "hf:no/folder: names no split, and is no folder; write hf:NAME:SPLIT or hf:NAME:CONFIG"),
        ],
    )
    def test_mistakes(self, text, message):
        with refused(message):
            read_utterances(text)


@pytest.fixture
def hub_folder(tmp_path) -> Path:
    """A folder of Parquet files as the Hub has them, with splits test and train."""
    for split, n in (("test", 3), ("train", 4)):
        embedded(n, id=[f"{split}{i}" for i in range(n)], sentence=["hello"] * n).to_parquet(
            tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet"
        )
    return tmp_path / "hub"


class TestFolders:
    def test_parquet_files(self, hub_folder):
        assert [u.id for u in read_utterances(f"hf:{hub_folder}:test")] == ["test0", "test1", "test2"]
        assert [u.id for u in read_utterances(f"hf:{hub_folder}:default:train[1:3]")] == ["train1", "train2"]
        (first, *_) = read_utterances(f"hf:{hub_folder}:test?id_column=sentence&id_column=id&language=English")
        assert (first.text, first.language) == ("hello", "English")
        np.testing.assert_array_equal(load_audio(first), sound(0))
        assert str(first.audio) == f"hf:{hub_folder}:test?id_column=sentence&id_column=id&language=English, row 0"

    def test_folders_of_save_to_disk(self, tmp_path):
        embedded(2, text=["a", "b"]).save_to_disk(tmp_path / "one")
        assert [u.text for u in read_utterances(f"hf:{tmp_path}/one")] == ["a", "b"]
        datasets.DatasetDict(dev=embedded(2, text=["a", "b"])).save_to_disk(tmp_path / "several")
        for place in (f"hf:{tmp_path}/several:dev", f"hf:{tmp_path}/several"):
            assert [u.text for u in read_utterances(place)] == ["a", "b"]
        with refused(f"hf:{tmp_path}/one:dev: there is no split 'dev' in the folder; it has one split; leave it out"):
            read_utterances(f"hf:{tmp_path}/one:dev")
        with refused(f"hf:{tmp_path}/several:test: there is no split 'test' in the folder; it has splits dev"):
            read_utterances(f"hf:{tmp_path}/several:test")
        for place in (f"hf:{tmp_path}/one:x:dev", f"hf:{tmp_path}/one?revision=main"):
            with refused(f"{place}: a folder of save_to_disk has no configuration or revision; name its split"):
                read_utterances(place)

    def test_splits_and_configurations_that_are_not_there(self, hub_folder):
        with refused(f"hf:{hub_folder}: has splits train, test; name one, as in hf:NAME:train"):
            read_utterances(f"hf:{hub_folder}")
        with refused(f'hf:{hub_folder}:dev: cannot be loaded: Unknown split "dev"'):
            read_utterances(f"hf:{hub_folder}:dev")
        with refused(f"hf:{hub_folder}:de:test: cannot be loaded: BuilderConfig 'de' not found"):
            read_utterances(f"hf:{hub_folder}:de:test")

    def test_hub_names_that_cannot_be_reached(self):
        with refused("hf:nobody/nothing:test: cannot be loaded: Couldn't reach 'nobody/nothing' on the Hub"):
            read_utterances("hf:nobody/nothing:test")

    def test_manifests_are_read_as_ever(self, manifests):
        assert read_utterances(manifests["test"]) == read_manifest(manifests["test"])

    def test_identity_survives_a_copy_and_sees_changes(self, tmp_path, hub_folder):
        first = identity(f"hf:{hub_folder}:test")
        assert first["n_utterances"] == 3
        hub_folder.rename(tmp_path / "moved")
        (tmp_path / "moved" / "data" / "test-00000-of-00001.parquet").touch()
        assert identity(f"hf:{tmp_path}/moved:test")["sha256"] == first["sha256"]
        digests = {first["sha256"]}
        for i, rows in enumerate(
            [
                embedded(3, id=["test0", "test1", "test2"], sentence=["hello"] * 2 + ["bye"]),
                embedded(3, id=["test0", "test1", "testX"], sentence=["hello"] * 3),
                embedded(2, id=["test0", "test1"], sentence=["hello"] * 2),
            ]
        ):
            rows.to_parquet(tmp_path / str(i) / "test.parquet")
            digests.add(identity(f"hf:{tmp_path}/{i}:test")["sha256"])
        assert len(digests) == 4


class TestManifests:
    def test_stored_audio_is_not_written_into_a_manifest_unless_extracted(self, tmp_path):
        rows = embedded(2, id=["a/1", "b"], text=["one", "two"])
        stored = utterances_from(rows, name="corpus")
        with refused("utterance 'a/1': its audio is stored in corpus, row 0 and has no path; write it to a file first"):
            distill.write_manifest(tmp_path / "m.jsonl", stored)
        extracted = extract_audio(stored, tmp_path / "audio")
        assert [u.audio for u in extracted] == [tmp_path / "audio" / "a%2F1.wav", tmp_path / "audio" / "b.wav"]
        distill.write_manifest(tmp_path / "m.jsonl", extracted)
        again = read_manifest(tmp_path / "m.jsonl")
        assert [(u.id, u.text) for u in again] == [("a/1", "one"), ("b", "two")]
        given = rows.cast_column("audio", datasets.Audio(decode=False))[1]["audio"]["bytes"]
        assert (tmp_path / "audio" / "b.wav").read_bytes() == given
        assert extract_audio(again, tmp_path / "other") == again

    def test_what_cannot_be_extracted(self, tmp_path):
        stored = Utterance("u", StoredAudio("corpus, row 0", 3, lambda: io.BytesIO(b"bad")))
        with pytest.raises(
            AudioError, match=r"^utterance 'u' \(corpus, row 0\): cannot be opened \(.*\); leave the row out"
        ):
            extract_audio([stored], tmp_path)


@pytest.fixture(scope="module")
def as_datasets(manifests, tmp_path_factory) -> dict[str, str]:
    """The miniature corpus as data sets, with the very samples that the manifests give."""
    places, folder = {}, tmp_path_factory.mktemp("sets")
    for name, path in manifests.items():
        utterances = read_manifest(path)
        rows = {
            "id": [u.id for u in utterances],
            "audio": [{"bytes": encoded(load_audio(u)), "path": None} for u in utterances],
            "text": [u.text for u in utterances],
            "language": [u.language for u in utterances],
        }
        datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio()).save_to_disk(folder / name)
        places[name] = f"hf:{folder / name}"
    return places


def with_sources(mini: dict, manifests: dict[str, Path], places: dict[str, str]) -> Recipe:
    text = json.dumps(mini)
    for name, path in manifests.items():
        text = text.replace(json.dumps(str(path)), json.dumps(places[name]))
    assert ".jsonl" not in text
    return Recipe.model_validate(json.loads(text))


class TestRuns:
    def test_a_run_on_data_sets_is_the_run_on_manifests(self, mini, manifests, as_datasets, tmp_path):
        mini["stages"] = [mini["stages"][0] | {"steps": 2}]
        mini["evaluation"]["max_new_tokens"] = 4
        del mini["probe"]
        recipes = Recipe.model_validate(mini), with_sources(mini, manifests, as_datasets)
        one, other = (distill.train(recipe, tmp_path / str(i)).path for i, recipe in enumerate(recipes))

        def rows(run, log):
            return [json.loads(line) for line in (run / f"{log}.jsonl").read_text().splitlines()]

        assert [row["loss"] for row in rows(one, "metrics")] == [row["loss"] for row in rows(other, "metrics")]
        assert rows(one, "evaluations") == rows(other, "evaluations")

    def test_resolved_json_names_data_sets_and_resuming_refuses_changed_ones(self, mini, as_datasets, tmp_path):
        folder = tmp_path / "set"
        shutil.copytree(as_datasets["train"].removeprefix("hf:"), folder)
        mini["stages"] = [mini["stages"][0] | {"steps": 1, "manifest": f"hf:{folder}"}]
        del mini["probe"], mini["evaluation"]
        recipe = Recipe.model_validate(mini)
        run = distill.train(recipe, tmp_path / "run")
        resolved = json.loads((run.path / "resolved.json").read_text())
        about = resolved["datasets"][f"hf:{folder}"]
        assert about["n_utterances"] == 24
        assert re.fullmatch("[0-9a-f]+", about["fingerprint"])
        assert resolved["manifest_sha256"] == {f"hf:{folder}": about["sha256"]}
        loaded = {"seen_in_training": [], "tokenizers": resolved["tokenizers"], "schema": SCHEMA}
        assert resolved == json.loads(json.dumps(resolved_configuration(recipe))) | loaded
        assert distill.resume(run.path).outcome == run.outcome
        datasets.load_from_disk(folder).select(range(23)).save_to_disk(tmp_path / "fewer")
        shutil.rmtree(folder)
        (tmp_path / "fewer").rename(folder)
        where = f"cannot resume {run.path}:\n  hf:{folder} (stages.0.manifest) changed since the run began: the"
        with pytest.raises(TrainingError, match=re.escape(where)):
            distill.resume(run.path)

    def test_recipes_name_folders_relative_to_themselves(self, tmp_path):
        (tmp_path / "sets" / "train").mkdir(parents=True)
        (tmp_path / "recipe.toml").write_text(
            '[student]\nmodel = "x"\n[[stages]]\ntype = "sft"\nname = "base"\nsteps = 1\n'
            'manifest = "hf:sets/train:dev?text_column=words"\n'
            '[evaluation]\nmanifest = "hf:google/fleurs:de_de:test"\n'
        )
        recipe = load_recipe(tmp_path / "recipe.toml")
        assert recipe.stages[0].manifest == f"hf:{tmp_path}/sets/train:dev?text_column=words"
        assert recipe.evaluation.manifest == "hf:google/fleurs:de_de:test"
        with refused("hf:a:t?text=x: unknown option text; did you mean text_column?"):
            load_recipe(tmp_path / "recipe.toml", ["stages.0.manifest=hf:a:t?text=x"])

    def test_the_command_line_takes_data_sets(self, student_path, manifests, as_datasets, capsys):
        results = []
        for place in (str(manifests["test"]), as_datasets["test"]):
            with pytest.raises(SystemExit) as ended:
                main(["evaluate", "--model", str(student_path), "--manifest", place, "--max-new-tokens", "4", "--json"])
            assert ended.value.code == 0
            results.append(json.loads(capsys.readouterr().out))
            assert results[-1].pop("manifest") == place
        assert results[0] == results[1]
