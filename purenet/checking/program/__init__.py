"""A forward recorded step by step, and reverse mode over it with any one rule changed."""
