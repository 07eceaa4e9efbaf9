"""Any terminal, hosted in a process of its own that can be killed.

A call of the MetaTrader5 package has no time-out and holds Python's GIL, so a
terminal that hangs would stop every thread of the guard. Hosted, it stops a
child process, which is killed and replaced.

    frames.py     length-prefixed msgpack, both sides
    goods.py      rows, arrays and errors as plain data, both sides
    plan.py       what a worker is told to host
    child.py      the child: serves one terminal
    build.py      the child: makes the terminal
    ties.py       a worker dies with its guard, and not of its guard's Ctrl-C
    job.py        the same for Windows
    process.py    the parent: one child process, from its start to its end
    murmur.py     the parent: what the child prints
    parting.py    the parent: how long a new one waits after one that died
    host.py       the parent: the conversation; turns, deadlines, deaths, new beginnings
    hosted.py     the parent: `WorkerTerminal`, which offers the whole `Terminal`
    office.py     the parent: a simulated terminal, with its broker's back office
"""
