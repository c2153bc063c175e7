"""What a recogniser wrote against what was said: error rates with intervals."""
