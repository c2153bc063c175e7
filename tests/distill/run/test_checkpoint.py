"""Which checkpoint is the newest."""

from distill.run import checkpoint


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (999_500, 1_000_000):
        folder = checkpoint.directory(tmp_path, step)
        folder.mkdir(parents=True)
        (folder / checkpoint.STATE).write_text("{}")
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert newest.name == "step-1000000"
    checkpoint.prune(tmp_path, 1, set())
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-1000000"]
