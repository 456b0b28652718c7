"""What arsync costs, measured on real systems: `python -m benchmarks NAME`. Nothing else imports this package."""
