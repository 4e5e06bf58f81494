"""Reading a store: TFDS folders on disk -> frame tables."""
