"""Near-duplicate images: found, shown, and kept on one side of a split."""
