"""From the official tree to a store: inventory, estimate, extraction, packing."""
