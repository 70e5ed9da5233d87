"""What the farm costs: throughput, hops, growth with the graph's size, idling. ``python -m benchmarks``."""
