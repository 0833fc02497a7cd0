"""Long trials of faults, hostile files, kills, full disks and repeated bits, as tests: `make trust`, `make soak`.

What may crash, hang or take memory runs in forked children: pytest imports the library once, stays single-threaded, and
forks within milliseconds.
"""
