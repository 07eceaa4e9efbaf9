"""The command line: run a guard, look at it, steer it, examine its surroundings.

Only this room (through `run`) configures logging and installs signal handlers;
everything below it is polite to its host.
"""
