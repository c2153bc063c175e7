"""Threads that take whole parts: what they compute, what they leave alone, how they end."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from overlap import measure
from overlap.core import chunking, threads
from overlap.losses.full_vocabulary import full_vocabulary_divergence

CPU = torch.device("cpu")


@pytest.fixture
def set_threads():
    """Sets torch's threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(monkeypatch, set_threads, n):
    student, teacher = (3 * torch.randn(40, 300, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    mask = torch.arange(40) % 5 > 0
    monkeypatch.setattr(chunking, "CHUNK_ELEMENTS", 3000)
    monkeypatch.setattr("overlap.core.chunking.ROW_ELEMENTS", 600)
    set_threads(1)
    expected = measure(student, teacher, k=5, mask=mask).values()
    set_threads(n)
    for _ in range(3):
        for name, value in measure(student, teacher, k=5, mask=mask).values().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-7, equal_nan=True, msg=name)


def test_each_part_is_worked_on_once_and_by_threads_that_compute_alone(set_threads):
    set_threads(3)
    seen, inside = [], set()

    def work(part):
        seen.append(part)
        inside.add((threading.get_ident(), torch.get_num_threads()))
        torch.ones(64, 64) @ torch.ones(64, 64)  # long enough for others to come

    threads.each(work, list(range(200)), CPU)
    assert sorted(seen) == list(range(200))
    assert {n for _, n in inside} == {1}
    assert threading.get_ident() not in {name for name, _ in inside}


def test_the_callers_threads_and_those_to_come_keep_their_number(set_threads):
    set_threads(2)
    threads.each(lambda part: None, [1, 2, 3], CPU)
    found = []
    late = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    late.start()
    late.join()
    assert (torch.get_num_threads(), found) == (2, [2])


def test_no_more_threads_than_processors(set_threads, monkeypatch):
    set_threads(4)
    monkeypatch.setattr(threads, "_processors", lambda: 3)
    assert threads.count(CPU) == 3
    monkeypatch.undo()
    assert 1 <= threads.count(CPU) <= 4


def test_one_thread_is_the_calling_one(set_threads):
    set_threads(1)
    found = set()
    threads.each(lambda part: found.add(threading.get_ident()), [1, 2], CPU)
    assert found == {threading.get_ident()}


def test_an_error_in_a_part_is_raised_and_the_rest_is_left(set_threads):
    set_threads(2)
    seen = []

    def fails(part):
        seen.append(part)
        if part == 3:
            raise RuntimeError("part three")

    with pytest.raises(RuntimeError, match="part three"):
        threads.each(fails, list(range(10_000)), CPU)
    n = len(seen)
    assert n < 10_000
    threads.each(seen.append, [1], CPU)  # the threads are there for the next one
    assert len(seen) == n + 1


def test_threads_have_the_callers_modes(set_threads):
    set_threads(2)
    found = []
    for context in (torch.no_grad(), torch.enable_grad(), torch.inference_mode()):
        with context:
            threads.each(
                lambda part: found.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled())), [0], CPU
            )
    assert found == [(False, False), (True, False), (False, True)]
    with torch.inference_mode():
        assert measure(torch.randn(6, 50), torch.randn(6, 50), k=3).forward_kl.isfinite().all()


def test_several_callers_at_once(set_threads):
    set_threads(2)
    student, teacher = (torch.randn(30, 200, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    expected, found = measure(student, teacher, k=4).forward_kl, []
    callers = [
        threading.Thread(target=lambda: found.append(measure(student, teacher, k=4).forward_kl)) for _ in range(6)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 6
    assert all(torch.allclose(value, expected, rtol=1e-6, atol=1e-7) for value in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_makes_threads_of_its_own():
    program = """
import os, torch
from overlap import measure
torch.set_num_threads(2)
x, y = torch.randn(8, 100), torch.randn(8, 100)
expected = measure(x, y, k=3).forward_kl
child = os.fork()
if not child:
    os._exit(0 if torch.allclose(measure(x, y, k=3).forward_kl, expected, atol=1e-6) else 1)
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "0", done.stderr


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jensen_shannon"])
def test_the_objective_on_every_token_too(monkeypatch, set_threads, kind):
    monkeypatch.setattr(chunking, "ROW_ELEMENTS", 200)
    student = torch.randn(12, 90, generator=torch.Generator().manual_seed(1), requires_grad=True)
    teacher, mask = torch.randn(12, 90, generator=torch.Generator().manual_seed(2)), torch.arange(12) != 4
    found = []
    for n in (1, 2):
        set_threads(n)
        value = full_vocabulary_divergence(student, teacher, mask, kind=kind)
        found.append((value.detach(), *torch.autograd.grad(value.sum(), student)))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
