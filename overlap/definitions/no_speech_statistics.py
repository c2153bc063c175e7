"""Statistics of audio in which nobody speaks: whatever is transcribed there is invented."""

from overlap.definitions.definition import Definition

NO_SPEECH_STATISTICS: dict[str, Definition] = {
    "invented_words": Definition(
        unit="words/min",
        formula="words of all transcripts after normalization / minutes of all clips",
        range="0 … ∞",
        undefined="without clips",
        source="standard; hallucinations on audio without speech, arXiv 2501.11378",
        reading="The target is 0. The interval is a bootstrap over clips, because a loop writes its words in one clip. "
        "If no clip has a word, or all have as many, it is that of a Poisson count (Garwood 1936): 0 words in 10 "
        "minutes are compatible with 0.37 a minute if words come singly. Greedy decoding writes the same for the same "
        "clip, so the interval speaks of other clips of this kind, not of other decodings. Compare with the teacher, "
        "which transcribes the same clips.",
    ),
    "clips_with_words": Definition(
        unit="share",
        formula="the transcript of a clip without speech has a word after normalization",
        range="0 or 1",
        undefined="without clips",
        source="standard; hallucination rate on non-speech audio, arXiv 2501.11378",
        reading="The target is 0. One clip with a hundred words is a loop; a hundred clips with one word are a habit, "
        "such as a farewell. `invented_words` tells them apart only together with this share.",
    ),
    "unfinished_clips": Definition(
        unit="share",
        formula="the transcript of a clip without speech reached the limit on its length",
        range="0 or 1",
        undefined="without clips",
        source="standard; one minus `end_of_text`, on audio without speech",
        reading="The target is 0. A model that ends its transcripts of speech and not these has learned to end at the "
        "last word, and there is none. Transcripts may be unfinished and yet hold no word, if the model writes marks.",
    ),
}
"""Not among the statistics that gates read."""
