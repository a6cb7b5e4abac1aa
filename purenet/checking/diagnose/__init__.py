"""Why a gradient is wrong: hypotheses, tried from the plainest to the most involved."""
