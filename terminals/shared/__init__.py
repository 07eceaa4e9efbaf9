"""One simulated terminal for several programs: a process with the broker, and its clients.

address.py    where the broker is: the file that it writes and its clients find
proof.py      the first words of a connection: both sides know the same token
line.py       a client's connection, with deadlines, without threads
terminal.py   the simulated terminal, with a seat for each client
desk.py       the broker: what one client asks, and what it is answered
server.py     the broker: listens, and gives each client a thread of its own
remote.py     `RemoteTerminal`: the whole `Terminal` for a guard, over a connection
module.py     what a program that imports MetaTrader5 holds: over a connection, or in process
"""
