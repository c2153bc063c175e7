"""The overlap numbers that other systems log, with their names and quirks.

Use them to compare a run with the output of another trainer. Each function takes both models' raw logits in one
vocabulary and returns plain floats; its docstring says how the number differs from `overlap.measure`, which you should
use for anything else. One thing is not reproduced: equal scores at the boundary of a support go to the lower id here,
while the systems leave them to ``torch.topk``, which guarantees no order.

Nothing of the size ``[positions × V]`` is kept: log-probabilities are gathered chunk by chunk.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from overlap.core.checks import admissible_ids, as_tensor, check_logits, check_mask
from overlap.core.chunking import chunks
from overlap.core.divergence import entropy, kl_terms, log_softmax
from overlap.core.topk import Support, intersection, top_k, union
from overlap.errors import UserError
from overlap.statistics.measure import measure

Ids = Tensor | Sequence[int]


@torch.no_grad()
def paper(student_logits: Tensor, teacher_logits: Tensor, *, k: int, mask: Tensor | None = None) -> dict[str, float]:
    """Return the diagnostics of *Rethinking On-Policy Distillation* (arXiv 2604.13016, Eq. 6 to 10), as printed there.

    Means over positions. Difference from `overlap.measure`: the advantage of a position is divided by |I|
    (``overlap_advantage`` is the plain sum, minus a KL divergence, which does not shrink when the intersection grows).
    The other numbers are the same: ``overlap_ratio``, ``student_intersection_mass``, ``teacher_intersection_mass`` and
    ``entropy_gap``.

    Args:
        student_logits: ``[..., V]`` raw scores.
        teacher_logits: ``[..., V]`` raw scores at the same positions.
        k: size of the supports (16 in the paper).
        mask: ``[...]`` bool, True where a position counts.

    Returns:
        ``overlap_ratio``, ``overlap_token_advantage`` (over positions with an overlap), ``student_overlap_mass``,
        ``teacher_overlap_mass`` and ``entropy_gap`` (nats); NaN where no position is left.

    Raises:
        UserError: as `overlap.measure` does.
    """
    statistics = measure(student_logits, teacher_logits, k=k, mask=mask)
    means = {
        "overlap_ratio": statistics.overlap_ratio,
        "overlap_token_advantage": statistics.overlap_advantage / statistics.intersection_size,
        "student_overlap_mass": statistics.student_intersection_mass,
        "teacher_overlap_mass": statistics.teacher_intersection_mass,
        "entropy_gap": statistics.entropy_gap,
    }
    return {name: float(value.double().nanmean()) for name, value in means.items()}


@torch.no_grad()
def verl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    k: int,
    mask: Tensor | None = None,
    log_prob_min_clamp: float | None = -10.0,
    loss_max_clamp: float | None = 10.0,
) -> dict[str, float]:
    """Return what verl logs with ``loss_mode=forward_kl_topk`` (``verl/trainer/distillation``), temperature 1.

    Quirks, and what `overlap.measure` does instead:

    * The advantage of a position is the mean over I of −q (log q − log p): weighted by the teacher and not
      renormalized, hence no divergence and not the paper's Eq. 7. `measure` returns −KL(p̄‖q̄), renormalized on I.
    * It is taken after log-probabilities were clamped from below, masses before. `measure` clamps nothing.
    * Without a single overlapping token it is 0.0, the best possible value. `measure` returns NaN and counts it.
    * ``student_mass`` and ``teacher_mass`` are both taken on T. ``teacher_mass`` of `measure` is Σ_S q.
    * The loss is the forward KL over T, not renormalized, so it may be negative; it is clamped at 0 position by
      position, which biases the mean upward. `measure` renormalizes on S∪T (``union_kl``) or uses the full vocabulary.
    * Student log-probabilities, and the mean of their masses, are rounded to the dtype of the logits: three digits with
      bfloat16. `measure` uses float32 from there on.

    Args:
        student_logits: ``[..., V]`` raw scores.
        teacher_logits: ``[..., V]`` raw scores at the same positions (verl gets float32 top-k log-probabilities from a
            server).
        k: ``topk``.
        mask: ``[...]`` bool, the response mask.
        log_prob_min_clamp: as in its configuration; None for no clamp.
        loss_max_clamp: as in its configuration; None for no clamp.

    Returns:
        ``distillation/overlap_ratio``, ``…/overlap_token_advantage``, ``…/student_mass``, ``…/teacher_mass`` (both with
        ``_min`` and ``_max``), ``…/loss`` (token mean, nats), ``…/loss_min`` and ``…/loss_max`` (before the upper
        clamp).

    Raises:
        UserError: on logits, mask or k that do not fit, or where no position is left (verl has nothing to average).
    """
    chosen = _check(student_logits, teacher_logits, mask)
    _check_any_position(chosen)
    s = _sets(student_logits, k, chosen, "student_logits")
    t = _sets(teacher_logits, k, chosen, "teacher_logits")
    shared = intersection(t, s).valid
    log_p = _log_probabilities(student_logits, t.ids, chosen).to(student_logits.dtype)
    log_q = _log_probabilities(teacher_logits, t.ids, chosen)
    masses = {"student_mass": log_p.exp().sum(-1), "teacher_mass": log_q.exp().sum(-1)}
    if log_prob_min_clamp is not None:
        log_p, log_q = log_p.clamp_min(log_prob_min_clamp), log_q.clamp_min(log_prob_min_clamp)
    terms = kl_terms(log_q.exp(), log_q, log_p.float())
    loss = terms.sum(-1).clamp_min(0.0)
    count = shared.sum(-1)
    some = count > 0
    advantage = -(terms * shared).sum(-1)[some] / count[some]
    result = {
        "overlap_ratio": count.float().mean() / k,
        "overlap_token_advantage": advantage.mean() if some.any() else torch.zeros(()),
    }
    for name, mass in masses.items():
        result |= {name: mass.mean(), f"{name}_min": mass.min(), f"{name}_max": mass.max()}
    bounded = loss if loss_max_clamp is None else loss.clamp(-loss_max_clamp, loss_max_clamp)
    result |= {"loss": bounded.mean(), "loss_min": loss.min(), "loss_max": loss.max()}
    return {f"distillation/{name}": float(value) for name, value in result.items()}


@torch.no_grad()
def thunlp(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    k: int,
    mask: Tensor | None = None,
    top_k_strategy: Literal["only_stu", "union"] = "only_stu",
) -> dict[str, float]:
    """Return what thunlp/OPD, the trainer of arXiv 2604.13016, logs with ``reward_weight_mode=student_p``.

    Quirks, and what `overlap.measure` does instead:

    * The advantage is the training reward −(log p − log q)·w with w = softmax of log p over the support (S, or S∪T):
      the weights are not renormalized on I and the log-ratio is raw, so it is not the paper's Eq. 7. `measure` returns
      −KL(p̄‖q̄).
    * It is pooled over all (position, token) pairs, so positions with a large intersection count more. `measure`
      averages over positions.
    * Masses on I are averaged over positions with an overlap only, which hides the empty ones. `measure` counts them as
    0.
    * Entropies are logged as two means. The difference of means is a lower bound of the paper's entropy gap and another
      quantity: gaps of opposite sign cancel. `measure` has |H(q) − H(p)| position by position.
    * Where no token is shared (or none is not), the keys concerned are left out. `measure` returns NaN and counts it.

    Args:
        student_logits: ``[..., V]`` raw scores.
        teacher_logits: ``[..., V]`` raw scores at the same positions.
        k: ``log_prob_top_k``.
        mask: ``[...]`` bool, the response mask.
        top_k_strategy: the support of the reward, S or S∪T.

    Returns:
        ``val-topk/overlap_ratio``, ``val-topk/adv_intersection``, ``val-topk/adv_only_stu`` and, with ``union``,
        ``val-topk/adv_only_tch`` (nats), ``val-topk/student_p_sum_intersection``,
        ``val-topk/teacher_p_sum_intersection``, ``actor/entropy`` and ``teacher/entropy`` (nats).

    Raises:
        UserError: on logits, mask, k or strategy that do not fit, or where no position is left.
    """
    if top_k_strategy not in ("only_stu", "union"):
        raise UserError(f"top_k_strategy: expected 'only_stu' or 'union', received {top_k_strategy!r}")
    chosen = _check(student_logits, teacher_logits, mask)
    _check_any_position(chosen)
    s = _sets(student_logits, k, chosen, "student_logits")
    t = _sets(teacher_logits, k, chosen, "teacher_logits")
    support = union(s, t) if top_k_strategy == "union" else s
    log_p = _log_probabilities(student_logits, support.ids, chosen)
    log_q = _log_probabilities(teacher_logits, support.ids, chosen)
    reward = (log_q - log_p) * log_softmax(log_p, support.valid).exp()
    shared = torch.zeros_like(support.valid)
    shared[:, :k] = intersection(s, t).valid
    of_student = torch.arange(support.ids.shape[-1], device=chosen.device) < k
    pools = {
        "adv_intersection": shared,
        "adv_only_stu": support.valid & ~shared & of_student,
        "adv_only_tch": support.valid & ~of_student,
    }
    result = {"val-topk/overlap_ratio": shared.sum() / (len(shared) * k)}
    result |= {f"val-topk/{name}": reward[pool].mean() for name, pool in pools.items() if pool.any()}
    some = shared.any(-1)
    if some.any():
        for name, log in (("student", log_p), ("teacher", log_q)):
            result[f"val-topk/{name}_p_sum_intersection"] = (log.exp() * shared).sum(-1)[some].mean()
    result["actor/entropy"] = _entropies(student_logits, chosen).mean()
    result["teacher/entropy"] = _entropies(teacher_logits, chosen).mean()
    return {name: float(value) for name, value in result.items()}


@torch.no_grad()
def ark(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    k: int,
    mask: Tensor | None = None,
    tokens: Tensor | None = None,
    blocked: Ids | None = None,
    stop: Ids | None = None,
    temperature: float = 1.0,
) -> dict[str, float]:
    """Return what AutoArk/open-audio-opd, the trainer of arXiv 2605.28139, logs, and its Eq. 1 computed as printed
    beside it.

    Quirks, and what `overlap.measure` does instead:

    * **Mixed scales in one softmax**: on the teacher's own top-k the loss takes raw logits, on student-only tokens
      log-probabilities. Those tokens lose a factor exp(−logsumexp) of the teacher's mass, so that ``opd_loss`` is not
      Eq. 1; ``eq1_loss`` is. Its integrand is ``union_kl`` of `measure`.
    * End-of-text ids leave the student's set after its top-k was taken and remain in the teacher's, so the sets differ
      where both models agree to stop. `measure` removes ``blocked`` ids from both before the choice.
    * If the student's set lacks the generated token, it is put first (this restores a stop id); the set is then cut to
      k. `measure` uses the support as it is.
    * A position whose union has fewer than 2 tokens is dropped without a count, so ``opd_valid_topk_mean`` (VUSS) is an
      average over the rest; with none left everything is 0.0. `measure` averages all positions.
    * Student scores and log-probabilities keep the dtype of the logits. `measure` uses float32.

    Not reproduced: mapping of ids between two vocabularies, re-tokenization, and the mean of one rank only.

    Args:
        student_logits: ``[..., V]`` raw scores.
        teacher_logits: ``[..., V]`` raw scores at the same positions, in the same ids.
        k: ``opd_top_k`` (32).
        mask: ``[...]`` bool, True where a position counts.
        tokens: ``[...]`` long, the generated ids, negative where there is none.
        blocked: ids that neither model may use (control tokens, padded ids), or a ``[V]`` bool mask of them.
        stop: end-of-text ids, or a ``[V]`` bool mask of them.
        temperature: τ; the loss is multiplied by τ².

    Returns:
        ``opd_loss`` (nats), ``opd_valid_topk_mean`` (VUSS), ``opd_valid_rows`` and ``opd_positions`` (both the kept
        positions), ``opd_teacher_support_rows`` and ``opd_student_support_rows`` (those with at least 2 tokens of that
        side), ``opd_union_support_rows``; and ``eq1_loss``: the same positions and sets, both sides from raw logits.

    Raises:
        UserError: on logits, mask, tokens, ids, k or temperature that do not fit.
    """
    if not 0 < temperature < float("inf"):
        raise UserError(f"temperature: expected a finite number above 0, received {temperature!r}")
    chosen = _check(student_logits, teacher_logits, mask)
    vocabulary = student_logits.shape[-1]
    admissible = admissible_ids(blocked, vocabulary, chosen.device)
    running = admissible_ids(stop, vocabulary, chosen.device)
    s = _sets(student_logits, k, chosen, "student_logits", blocked)
    if running is not None:
        s = s.keep(running[s.ids])
    if tokens is not None:
        s = _with_generated(s, _generated(tokens, chosen, vocabulary), k)
    t = _sets(teacher_logits, k, chosen, "teacher_logits", blocked)
    t = t.keep((t.size >= 2)[:, None].expand_as(t.valid))
    u = union(s, t)
    kept = u.size >= 2
    raw_p, _ = _gathered(student_logits, u.ids, chosen)
    raw_q, normalizer = _gathered(teacher_logits, u.ids, chosen, admissible)
    # A blocked id returns if it is the generated token: it has no teacher value and is removed from its row; the row is
    # kept.
    valid = u.valid & (raw_q > float("-inf"))
    if admissible is not None:
        valid = valid & admissible[u.ids]
    mixed = torch.where(intersection(u, t).valid, raw_q, raw_q - normalizer[:, None])
    rounded = (raw_p.to(student_logits.dtype) / temperature).float()

    def loss(log_q: Tensor, log_p: Tensor) -> float:
        # Not `kl_divergence`, which clamps at 0: this value may be negative after rounding.
        terms = torch.where(valid, kl_terms(log_q.exp(), log_q, log_p), 0.0)[kept]
        return float(terms.sum(-1).mean() * temperature**2) if len(terms) else 0.0

    rows = float(kept.sum())
    return {
        "opd_loss": loss(
            log_softmax(mixed, valid, temperature=temperature),
            log_softmax(rounded, valid).to(student_logits.dtype).float(),
        ),
        "opd_valid_topk_mean": float(valid.sum(-1)[kept].float().mean()) if rows else 0.0,
        "opd_positions": rows,
        "opd_valid_rows": rows,
        "opd_teacher_support_rows": float((kept & (t.size >= 2)).sum()),
        "opd_student_support_rows": float((kept & (s.size >= 2)).sum()),
        "opd_union_support_rows": rows,
        "eq1_loss": loss(
            log_softmax(raw_q, valid, temperature=temperature), log_softmax(raw_p, valid, temperature=temperature)
        ),
    }


def _check(student_logits: Tensor, teacher_logits: Tensor, mask: Tensor | None) -> Tensor:
    """Refuse logits that do not fit each other; return the mask."""
    student_logits = as_tensor(student_logits, "student_logits")
    check_logits(student_logits, "student_logits")
    teacher_logits = as_tensor(teacher_logits, "teacher_logits")
    check_logits(teacher_logits, "teacher_logits")
    if teacher_logits.shape != student_logits.shape:
        raise UserError(
            f"teacher_logits: expected the student's shape {list(student_logits.shape)}, received "
            f"{list(teacher_logits.shape)}; the systems reproduced here compare models with one vocabulary; for "
            "others, use overlap.measure with a VocabularyMap"
        )
    return check_mask(mask, student_logits.shape[:-1], student_logits.device)


def _generated(tokens: Tensor, mask: Tensor, vocabulary: int) -> Tensor:
    """Return the generated ids ``[N]`` of the unmasked positions."""
    if not isinstance(tokens, Tensor) or tokens.dtype != torch.long or tokens.shape != mask.shape:
        received = f"{tokens.dtype} {list(tokens.shape)}" if isinstance(tokens, Tensor) else type(tokens).__name__
        raise UserError(f"tokens: expected a torch.int64 tensor of shape {list(mask.shape)}, received {received}")
    tokens = tokens.to(mask.device)[mask]
    if (tokens >= vocabulary).any():
        raise UserError(f"tokens: id {int(tokens.max())} is outside the vocabulary of {vocabulary} ids")
    return tokens


def _check_any_position(mask: Tensor) -> None:
    if not mask.any():
        raise UserError(
            "mask: no position is left, and this system defines no value for this case; leave the batch out"
        )


def _sets(logits: Tensor, k: int, mask: Tensor, name: str, blocked: Ids | None = None) -> Support:
    """Return supports of the unmasked positions, ``[N, k]``."""
    there = mask.to(logits.device)
    try:
        support = top_k(logits, k, blocked=blocked, mask=there)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    return Support(support.ids[there].to(mask.device), support.valid[there].to(mask.device))


def _scores(logits: Tensor, mask: Tensor) -> Iterator[Tensor]:
    """Yield Float32 scores of the unmasked positions, ``[chunk, V]`` at a time."""
    grid = mask.reshape(mask.shape or (1,))
    logits = logits.detach().reshape(*grid.shape, logits.shape[-1])
    for index in chunks(grid, logits.shape[-1]):
        yield logits[tuple(axis.to(logits.device) for axis in index)].float().to(mask.device)


def _gathered(logits: Tensor, ids: Tensor, mask: Tensor, admissible: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return raw scores ``[N, w]`` of ``ids`` ``[N, w]``, and the log-partition function ``[N]`` over the admissible
    ids."""
    start = 0
    raw, normalizer = [torch.empty(0, ids.shape[-1], device=mask.device)], [torch.empty(0, device=mask.device)]
    for scores in _scores(logits, mask):
        raw.append(scores.gather(-1, ids[start : start + len(scores)]))
        counted = scores if admissible is None else scores.masked_fill(~admissible, float("-inf"))
        normalizer.append(counted.logsumexp(-1))
        start += len(scores)
    return torch.cat(raw), torch.cat(normalizer)


def _log_probabilities(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    raw, normalizer = _gathered(logits, ids, mask)
    return raw - normalizer[:, None]


def _entropies(logits: Tensor, mask: Tensor) -> Tensor:
    return torch.cat([entropy(log_softmax(scores)) for scores in _scores(logits, mask)])


def _with_generated(support: Support, tokens: Tensor, k: int) -> Support:
    """Put the generated token first where the set lacks it, then keep the first k."""
    there = (support.valid & (support.ids == tokens[:, None])).any(-1)
    ids = torch.cat([tokens.clamp_min(0)[:, None], support.ids], -1)
    valid = torch.cat([(~there & (tokens >= 0))[:, None], support.valid], -1)
    order = (~valid).long().sort(dim=-1, stable=True).indices[:, :k]
    return Support(ids.gather(-1, order), valid.gather(-1, order))
