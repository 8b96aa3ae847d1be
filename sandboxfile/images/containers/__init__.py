"""Container images: coming in as origins, and going out.

oci.py        images in files, read and written: layouts.py, docker_archives.py, members.py, packing.py are its parts
registry.py   images of registries, by skopeo; registry_errors.py what it says when it fails
local.py      images of this host's podman, buildah or docker; engines.py is the door to those
dockerfile.py Dockerfiles, built by one of them; build_errors.py what they say when it fails
archive.py    a root file system, or an image, in a tar
export.py     a template becomes an image for other tools
children.py   programs that are asked to end before they are made to; growth.py progress of programs that say nothing
"""
