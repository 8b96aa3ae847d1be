"""Templates: those of the sandbox file, built-in ones, and saved ones. A word means the first of these that has it."""

COMMANDS = {
    "ls": "list templates, with what they take on disk",
    "inspect": "show what a template is made of, and what is in it",
    "build": "build images now, as `up` would",
    "rm": "remove images from the cache, and saved templates",
    "export": "write a template as an image for other tools",
    "import": "keep an image or a root file system as a template",
    "lock": "write down what the templates are made from",
}
