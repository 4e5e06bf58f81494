"""From a store to batches on devices: tables, the order of examples, scores of rows."""
