"""What runs inside: the scripts that boot (`rootfs/`), what they are told (`config.py`, `network.py`), the way in.

`rootfs/` is data: `images/boot` packs it into the initramfs and the tools disk. Nothing of it is installed in a
template, and nothing of a template is executed before its first session, but for the Docker daemon that it asks for.

    initramfs-init   mounts the two disks and hands over
    init             process 1: mounts, names, the user `agent`, one `serve` per port, power off
    network, trust   its parts for the way out, and for the sandbox's certificate authority
    docker           its part for a sandbox with a Docker daemon of its own: the group `docker`, start and end
    docker-daemon    keeps the daemon running
    serve            virtio-serial port -> sshd
    bin/sbx-mount TAG TARGET, bin/sbx-umount TARGET, bin/sbx-mount-volume SERIAL TARGET,
    bin/sbx-umount-volume SERIAL TARGET, bin/grow-root, bin/grow-disk DISK, bin/sbx-docker, bin/sbx-poweroff
                     what the supervisor runs as root, under /run/sbx/bin
"""
