"""What each command does, as a plain function of plain arguments: `tasks.fit.fit`, `tasks.sample.sample` and so on.

The command line and a web page call these. A task checks its arguments before long work, reads its files, calls the
library, writes its files, and returns a record. It prints nothing: messages and progress go to an `Observer`. Error
messages name options as the command line has them.

Each task is imported by itself, because some need much: only `report` and `demo` load matplotlib.
"""
