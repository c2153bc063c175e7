"""Readings of a statistic against the errors of transcripts: does it tell right ones from wrong ones?"""

from overlap.definitions.definition import Definition

_FIRST = "arXiv 2607.13399, from notes; intervals and verdicts are this library's"
_ROLLOUTS = "where fewer than two rollouts of an utterance were sampled, in ties, and without a reference"

SIGNAL_READINGS: dict[str, Definition] = {
    "auroc": Definition(
        unit="share",
        formula="pairs of a right and a wrong transcript in which the right one has the better mean of the statistic "
        "(ties ½) / all such pairs; s(y) = mean over t of log q(y_t) is the mean of teacher_logprob",
        range="0 … 1",
        undefined="where all transcripts are right or all are wrong",
        source=f"{_FIRST}; score interval of Newcombe (2006), its variance inflated between clusters",
        reading="0.5 is chance. Published: 0.73–0.75 for s(y) where it works, no signal below 0.65. Verdicts, "
        "Holm-corrected over the statistics of a probe: *carries signal* where the interval is above 0.5, *no useful "
        "signal* where it is below 0.65, else *undecided*, with about how many transcripts would decide under that "
        "correction; *by correction* where only it leaves the verdict open. Where the "
        "teacher's word carries no signal, agreeing with it need not lower the error rate.",
    ),
    "informativeness": Definition(
        unit="of the statistic",
        formula="mean of the statistic over right transcripts − its mean over wrong ones",
        range="−∞ … ∞",
        undefined="where all transcripts are right or all are wrong",
        source=_FIRST,
        reading="For s(y) in nats a token: above 0, the teacher prefers right transcripts. Its size depends on the "
        "models' temperature and on the length of errors; compare AUROCs between models. From several sampled rollouts "
        "an utterance (`overlap.signal.rollout_signal`), duration and difficulty cannot confound it.",
    ),
    "spearman": Definition(
        unit="correlation",
        formula="Spearman's ρ of the statistic's mean with the transcript's error rate",
        range="−1 … 1",
        undefined="where either is the same for all transcripts, and without a reference that has words",
        source=f"{_FIRST}; jackknife over clusters on Fisher's scale",
        reading="Below 0 for statistics that should be high, such as s(y). It counts how wrong a transcript is, which "
        "AUROC does not.",
    ),
    "sign_agreement": Definition(
        unit="share",
        formula="rollouts where Σ_t (log q − log p) less its mean over the utterance's rollouts has the sign of the "
        "mean error rate of these less the rollout's own",
        range="0 … 1",
        undefined=_ROLLOUTS,
        source="sequence-level relative of arXiv 2606.09304 and 2608.27960, from notes",
        reading="0.5 is chance. Above it, the advantage that on-policy training follows points at the better rollouts. "
        "Without the centering the sum's sign is nearly always minus.",
    ),
    "excess": Definition(
        unit="probability",
        formula="(p(y_t) − q(y_t))₊ at the written token; on a set, Σ_S (p − q)₊",
        range="0 … 1",
        undefined="where either probability is",
        source="after arXiv 2608.09836, from notes",
        reading="What the student gives beyond the teacher. Over the full vocabulary it is the total variation; on a "
        "set it is a lower bound of it. Loops agree almost perfectly, so a low value in a stretch is no comfort.",
    ),
    "deficit": Definition(
        unit="probability",
        formula="(q(y_t) − p(y_t))₊ at the written token; on a set, Σ_T (q − p)₊",
        range="0 … 1",
        undefined="where either probability is",
        source="after arXiv 2608.09836, from notes",
        reading="What the teacher gives beyond the student: what training would raise. See `excess`.",
    ),
    "low_kl_share": Definition(
        unit="share",
        formula="full windows of a rollout in runs of windows whose mean KL is below a running quantile / full windows",
        range="0 … 1",
        undefined="without enough earlier windows, and for rollouts shorter than a run",
        source="after arXiv 2606.09471 (its abstract), constants ours; not a reproduction",
        reading="Long stretches of near-perfect agreement are what a loop looks like that the teacher follows. Unlike "
        "whether there is a run, the share does not grow with length alone; compare within bins of equal length.",
    ),
}
"""Readings of transcripts with references, see `overlap.signal`."""
