"""The plots of docs/benchmarks.md, drawn from kept results."""
