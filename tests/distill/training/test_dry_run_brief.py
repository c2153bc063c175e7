"""A rehearsal writes little where nobody reads it, and as much as a run where its cost is asked for."""

from distill.recipe import Recipe
from distill.training import probes_and_evaluations, steps
from distill.training.dry_run import BRIEF, dry_run


def test_probes_and_evaluations_write_little_and_training_steps_do_not(mini, monkeypatch):
    mini["evaluation"] |= {"max_new_tokens": 40, "every": 1}
    mini["stages"][2]["rollout"] = {"max_new_tokens": 20}
    evaluated, probed, trained = [], [], []
    evaluate, probe, written = probes_and_evaluations.evaluate, probes_and_evaluations.probe, steps.write

    def evaluate_heard(*arguments, **keywords):
        evaluated.append(keywords["decoding"].limit)
        return evaluate(*arguments, **keywords)

    def probe_heard(pair, source, utterances, support, decoding, **keywords):
        probed.append(decoding.limit)
        return probe(pair, source, utterances, support, decoding, **keywords)

    def written_heard(pair, batch, stage, *others):
        trained.append(stage.rollout.limit)
        return written(pair, batch, stage, *others)

    monkeypatch.setattr(probes_and_evaluations, "evaluate", evaluate_heard)
    monkeypatch.setattr(probes_and_evaluations, "probe", probe_heard)
    monkeypatch.setattr(steps, "write", written_heard)
    dry_run(Recipe.model_validate(mini))
    assert set(evaluated) == set(probed) == {BRIEF}
    assert len(evaluated) == 1 + len(mini["stages"])  # the teacher, and the student as each stage ends
    assert set(trained) == {20}
