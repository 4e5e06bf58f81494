"""From a store to batches on devices: tables, the order of rows, scores of rows."""
