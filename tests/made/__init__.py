"""Material that the tests make: stores, trees, files, servers, processes."""
