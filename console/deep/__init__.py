"""`doctor --deep`: every assumption about a terminal, tried, and a report to send back.

table.py      what is assumed, how it is tried, and where it is from
probe.py      timed calls, and what was seen
reading.py    what can be tried without an order
trading.py    what needs orders, on a demo account
tidying.py    nothing is left behind
report.py     text and JSON, without names and numbers that tell whose account it is
command.py    the command: who may trade, in which order, and how it ends
"""
