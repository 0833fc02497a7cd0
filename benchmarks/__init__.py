"""What backwalk costs and what it yields, beside other methods: `python -m benchmarks --help`, and README.md here."""
