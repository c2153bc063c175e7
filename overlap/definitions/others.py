"""Statistics of one sequence, and of one position between two checkpoints."""

from overlap.definitions.definition import Definition

SEQUENCE_STATISTICS: dict[str, Definition] = {
    "repetition": Definition(
        unit="ratio",
        formula="bytes of the transcript in UTF-8 / bytes after zlib",
        range="0 … ∞",
        undefined="for an empty transcript",
        source="compression ratio, arXiv 2604.08527; also the loop detector of Whisper's decoding",
        reading="About 1 for a sentence or two, less for a few words. Published: Whisper's decoder takes more than 2.4 "
        "as a loop. A rise together with falling `end_of_text` is the truncation–repetition spiral (arXiv 2604.08527).",
    ),
    "length_ratio": Definition(
        unit="ratio",
        formula="characters of the hypothesis / characters of the reference",
        range="0 … ∞",
        undefined="without a reference or with an empty one",
        source="standard; length inflation, arXiv 2604.08527",
        reading="1 is right. The mean over utterances weighs short references as much as long ones, so that one loop "
        "shows. Rule of thumb: below 0.8 deletions rule, above 1.2 insertions or loops do.",
    ),
    "n_tokens": Definition(
        unit="tokens",
        formula="generated tokens, the end-of-text token not counted",
        range="0 … ∞",
        undefined="never",
        source="standard",
        reading="Has no good value of its own; a trend at unchanged audio is length inflation or shrinking.",
    ),
    "token_rate": Definition(
        unit="tokens/s",
        formula="generated tokens / seconds of audio",
        range="0 … ∞",
        undefined="for audio without duration",
        source="standard",
        reading="Needs no reference: compare with the teacher's transcripts of the same audio. Speech has only so many "
        "tokens a second, so an outlier is a loop or a lost utterance.",
    ),
    "end_of_text": Definition(
        unit="share",
        formula="the rollout ended by itself, not at the limit on its length",
        range="0 or 1",
        undefined="never",
        source="standard; one minus it is the truncation rate of arXiv 2604.08527",
        reading="1 is right, 1 − value is the truncated share. Rule of thumb: below 0.98 look at the truncated "
        "transcripts, for each fills the batch with positions after the point where it went wrong.",
    ),
    "empty": Definition(
        unit="share",
        formula="the transcript holds no text",
        range="0 or 1",
        undefined="never",
        source="this library",
        reading="The other way to collapse: such an utterance gives one position, that of its end, so that means over "
        "positions hardly show it. 0 is right where there is speech.",
    ),
    "recut": Definition(
        unit="share",
        formula="positions of the transcript before which the teacher's tokenizer cuts the text otherwise than it is "
        "written / positions",
        range="0 … 1",
        undefined="for a transcript without positions",
        source="this library",
        reading="0 is right for two models with the same tokens. There a transcript is handed over in the tokens that "
        "were written: behind another cut the teacher reads a history that it would not write, and its distribution is "
        "not the one that it was trained to have. A large share says that a tokenizer's file is not the one that the "
        "model was trained with. With other tokens the teacher cuts the text itself, and a share above 0 is as it "
        "should be. The mean over utterances weighs short transcripts as much as long ones.",
    ),
}
"""Statistics of one sequence, see `overlap.estimates.sequences`."""

CHECKPOINT_STATISTICS: dict[str, Definition] = {
    "fixed_context_gain": Definition(
        unit="of the divergence",
        formula="divergence before − divergence after, at one and the same recorded context (audio and prefix)",
        range="−∞ … ∞",
        undefined="where the divergence is undefined or infinite in both checkpoints, or undefined in either",
        source="arXiv 2605.26844",
        reading="Above 0 the student came closer to the teacher at this context. It is the token-level outcome against "
        "which every other statistic's worth is judged. A position with a large divergence has more to lose: a "
        "divergence before correlates with its own gain by noise alone.",
    ),
}
"""Statistics between two checkpoints, see `overlap.statistics.gain`."""
