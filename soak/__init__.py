"""Long campaigns of faults, bad input and hostile files: `python -m soak` runs them, `docs/trust.md` keeps the figures.

Each campaign is a stream of cases; a case that holds is the empty text, one that does not is a sentence. Cases are
functions of a seed and a number, so that a failure can be run again alone. What may crash, hang or take memory runs in
forked children: this process imports the library once, stays single-threaded, and forks within milliseconds.
"""
