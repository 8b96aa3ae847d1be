# make-disk.sh TAR TREE IMAGE MKE2FS-OPTION...: unpacks TAR into the new directory TREE, tidies it, and makes IMAGE of it.
# Consumes TAR. Run as root, or where files can be given to anybody: a user namespace, fakeroot.
set -e
tar=$1 tree=$2 image=$3
shift 3
mkdir "$tree"
# /dev is the guest's own at every boot, and nodes cannot be made in a user namespace.
tar -C "$tree" --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' -xf "$tar"
# Copies of the build host's, and identities that no two machines may share.
rm -f "$tar" "$tree/etc/resolv.conf" "$tree/etc/hostname" "$tree/var/lib/dbus/machine-id"
if [ -e "$tree/etc/machine-id" ]; then : >"$tree/etc/machine-id"; fi
mke2fs "$@" -d "$tree" "$image"
