"""From the official tree to a store: what is there, what it will take, what came."""
