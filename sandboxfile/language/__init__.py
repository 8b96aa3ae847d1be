"""Text to `SandboxFile`, with every problem of the text at its place. Pure: reads no file, knows no host."""
