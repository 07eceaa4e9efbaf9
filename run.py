"""Start the command line of DTMS: `python run.py` is `python run.py run`."""

from console.main import main

if __name__ == "__main__":
    raise SystemExit(main())
