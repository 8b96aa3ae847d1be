# make-disk.sh TAR TREE SEALED IMAGE MKE2FS-OPTION...: unpacks TAR into the empty directory TREE, makes the empty file
# SEALED when that is done, and IMAGE of the tree. Consumes TAR; TREE is left to the caller, who may need other rights.
# TAR is one that merge.py wrote: each name once, no link on the way to any. Run as root, or where files can be given
# to anybody: a user namespace, fakeroot.
set -e
tar=$1 tree=$2 sealed=$3 image=$4
shift 4
# All directories stand first: their times and modes are set when everything is in them.
tar -C "$tree" --numeric-owner --same-owner --preserve-permissions --delay-directory-restore --warning=no-timestamp \
    --xattrs --xattrs-include='*' -xf "$tar"
rm -f "$tar"
: >"$sealed"
mke2fs "$@" -d "$tree" "$image"
