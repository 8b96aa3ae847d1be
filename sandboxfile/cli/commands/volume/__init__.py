"""List and delete volumes: the disks that stay when sandboxes are deleted. `sbx up` makes those of the sandbox file."""

COMMANDS = {
    "ls": "list volumes: size, what they occupy, and which sandbox has each",
    "rm": "delete volumes with what is on them",
}
