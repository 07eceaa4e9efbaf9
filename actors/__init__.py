"""The actors of DTMS, one file an actor, and the small runtime below them.

The runtime (`mailbox`, `actor`, `incarnation`, `threads`, `simulated`) knows
nothing of trades; the actors (`connector`, `registry`, `monitor`, `recovery`,
`alert`, `admin`) know nothing of threads.
"""
