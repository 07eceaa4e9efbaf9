"""A folder for PYTHONPATH: whoever imports MetaTrader5 then gets the simulation (docs/bots.md)."""
