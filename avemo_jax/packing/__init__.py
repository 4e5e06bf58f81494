"""Feature files and annotations packed into a store, with its card and counts."""
