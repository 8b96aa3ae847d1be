"""This host: where files are, how they are written, which processes run. Knows nothing of machines or guests."""
