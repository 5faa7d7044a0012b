"""How pictures are judged: judges, scores, intervals, and the fixed prompts."""
