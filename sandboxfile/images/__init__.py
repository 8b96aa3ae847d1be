"""What machines boot from: the platform, and templates' disk images, in a cache.

boot/        the platform: kernel, initramfs, and the disk of our own tools
origins.py   where an image begins becomes one layer, wherever it comes from: read this first
packages/    Debian and Ubuntu suites, by mmdebstrap
containers/  images of registries, of this host's builders, in archives; Dockerfiles; and how ours leave
layers/      tars of layers: read strictly, merged into one root as data, listed, named by their content
composing.py layers become an image: disk.py makes the disk
cache.py     directories that appear whole or not at all; store.py what is in them, prune.py what can go
saved.py     saved and imported templates: state, not cache
config.py    what an image says besides its files
pinning.py   what an image was made from, for sandbox.lock; held.py what the lock expects; aliasing.py a second name
"""
