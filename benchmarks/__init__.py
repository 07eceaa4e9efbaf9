"""What DTMS costs, measured: `python -m benchmarks` lists the names, with names it runs them."""
