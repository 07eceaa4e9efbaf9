"""Pure rules: trades, states, policy, reconciliation. No I/O, no clock, no actor."""
