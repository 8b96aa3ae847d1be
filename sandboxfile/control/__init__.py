"""How processes of sandboxfile talk: versioned JSON lines over a UNIX socket, descriptors by SCM_RIGHTS."""
