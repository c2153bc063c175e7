"""Ids that end a text, as users hand them over."""

import numpy as np
import pytest
import torch

from overlap import measure, merge_ends
from overlap.errors import UserError
from overlap.vocab.ends import check_ends

LOGITS = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("ends", [[8, 2], (8, 2), np.array([8, 2]), torch.tensor([8, 2]), [np.int64(8), np.int32(2)]])
def test_ids_may_come_in_any_of_the_usual_containers(ends):
    assert check_ends(ends, 9, "ends") == (8, 2)
    merged = merge_ends(LOGITS, ends)
    torch.testing.assert_close(merged[..., 8].exp(), LOGITS[..., 8].exp() + LOGITS[..., 2].exp())
    found = measure(LOGITS, LOGITS, k=4, ends=ends)
    mass = LOGITS.softmax(-1)[..., [8, 2]].sum(-1)
    torch.testing.assert_close(found.student_end_mass, mass)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        (8, r"^ends: expected a list of token ids, received the id 8; write \[8\]$"),
        ([2, 2], r"^ends: expected different token ids, received \[2, 2\]$"),
        ([2, 9], r"^ends: id 9 is outside the vocabulary of 9 \(valid: 0 to 8\)$"),
        ([-1], r"^ends: id -1 is outside"),
        ([True], r"^ends: expected different token ids, received \[True\]$"),
        ([2.0], r"^ends: expected different token ids, received \[2\.0\]$"),
        ("8", r"^ends: expected different token ids, received '8'$"),
        (None, r"^ends: expected different token ids, received None$"),
        (torch.tensor(8), r"^ends: expected different token ids, received 8$"),
    ],
)
def test_others_are_refused_wherever_they_are_given(ends, message):
    for call in (
        lambda: merge_ends(LOGITS, ends),
        lambda: measure(LOGITS, LOGITS, k=4, ends=ends),
    ):
        with pytest.raises(UserError, match=message):
            call()
