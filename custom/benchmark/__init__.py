"""Methods compared on one bundle under one protocol: `python -m custom benchmark --help`."""
