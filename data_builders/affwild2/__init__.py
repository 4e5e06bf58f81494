"""The store of Aff-Wild2 annotations and features."""
