"""The simulated terminal: a broker, a market, their clock, and what may go wrong with them."""
