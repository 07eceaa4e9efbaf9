"""A terminal behind an `mt5linux` server: the package under Wine, the guard on Linux or macOS.

The server is RPyC's classic one: whoever reaches its port runs any code there.
The other direction is closed. RPyC's own `Connection` is not used here: it
serves the other side's requests while it waits for answers. What is here knows
how to ask, and nothing that comes in is a request, an object or code.

    place.py       where the server is; what counts as near
    wire.py        bytes in frames over a socket; deadlines, limits, cutting it from any thread
    rpc.py         RPyC's messages: the four that are sent, the two that are taken
    far_side.py    what is sent to the server once a connection, as text, and runs there
    packed.py      the plain answers of the far side, and back
    connection.py  one connection, from its start to its end (a `Peer` of `worker.host`)
    terminal.py    `BridgeTerminal`, which offers the whole `Terminal`
"""
