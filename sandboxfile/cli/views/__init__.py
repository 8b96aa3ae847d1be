"""Values into text, for people and for machines. Pure but for `console` and `progress`, which write to a terminal."""
