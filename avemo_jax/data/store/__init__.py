"""The store read: from TFDS folders to frame tables."""
