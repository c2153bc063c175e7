"""Statistics of one sequence."""

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
        reading="The target is 1. The mean over utterances weights short and long references equally, so a single loop "
        "is visible. Rule of thumb: below 0.8 deletions dominate, above 1.2 insertions or loops.",
    ),
    "n_tokens": Definition(
        unit="tokens",
        formula="generated tokens, the end-of-text token not counted",
        range="0 … ∞",
        undefined="never",
        source="standard",
        reading="It has no target value; a trend on the same audio is length inflation or shrinking.",
    ),
    "token_rate": Definition(
        unit="tokens/s",
        formula="generated tokens / seconds of audio",
        range="0 … ∞",
        undefined="for audio without duration",
        source="standard",
        reading="It needs no reference: compare with the teacher's transcripts of the same audio. The number of tokens "
        "per second of speech is limited, so an outlier is a loop or a lost utterance.",
    ),
    "end_of_text": Definition(
        unit="share",
        formula="the rollout ended by itself, not at the limit on its length",
        range="0 or 1",
        undefined="never",
        source="standard; one minus it is the truncation rate of arXiv 2604.08527",
        reading="The target is 1; 1 − value is the truncated share. Rule of thumb: below 0.98 check the truncated "
        "transcripts, because each fills the batch with positions after its first error.",
    ),
    "stop_density": Definition(
        unit="ends per 1,000 positions",
        formula="1000 · transcripts that ended / positions of all transcripts, ends and truncated ones included",
        range="0 … 1000",
        undefined="without positions",
        source="audit SimOPD; 1000 · (1 − truncated share) / mean length",
        reading="How often training on these rollouts shows the student an end. A fall is the earliest sign of the "
        "truncation spiral: in the audit it fell 1,670-fold in a run that collapsed, before loss or masses moved. A "
        "few long transcripts lower it although most still end.",
    ),
    "empty": Definition(
        unit="share",
        formula="the transcript holds no text",
        range="0 or 1",
        undefined="never",
        source="this library",
        reading="The second form of collapse: an empty utterance has one position, its end, so means over positions "
        "hardly show it. The target is 0 for audio with speech.",
    ),
    "recut": Definition(
        unit="share",
        formula="positions whose prefix the teacher's tokenizer would tokenize differently / positions",
        range="0 … 1",
        undefined="for a transcript without positions",
        source="this library",
        reading="The target is 0 for two models with the same tokens. The teacher then reads the student's tokens: if "
        "it would tokenize the text differently, it reads a prefix that it would not write, unlike its training data. "
        "A large share means that a tokenizer file is not the one that the model was trained with. With different "
        "tokens the teacher tokenizes the text itself, and shares above 0 are normal. The mean over utterances "
        "weights short and long transcripts equally.",
    ),
}
"""Statistics of one sequence, see `overlap.estimates.sequences`."""
