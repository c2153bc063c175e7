"""What a recognizer wrote against what was said: error rates with intervals."""
