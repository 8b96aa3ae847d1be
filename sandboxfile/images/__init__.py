"""What machines boot from: the platform (kernel, initramfs, tools disk) and templates' disk images, in a cache."""
