"""Print a completion script. Load it with `source <(sbx completion bash)`, or `sbx completion fish | source`."""

import argparse

from sandboxfile.cli import exits
from sandboxfile.cli.views.console import Console

# Each script only asks `sbx complete-words`, so that it never lags behind the commands.
SCRIPTS = {
    "bash": """\
_sbx() {
    local IFS=$'\\n'
    COMPREPLY=($(sbx complete-words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    [ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default
}
complete -F _sbx sbx sandboxfile
""",
    "zsh": """\
#compdef sbx sandboxfile
_sbx() {
    local -a found
    found=("${(@f)$(sbx complete-words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n ${found[1]} ]]; then compadd -a found; else _files; fi
}
if [[ ${funcstack[1]} = _sbx ]]; then _sbx "$@"; else compdef _sbx sbx sandboxfile; fi
""",
    "fish": """\
function __sbx_words
    set -l words (commandline -opc) (commandline -ct)
    sbx complete-words -- $words[2..-1] 2>/dev/null
end
complete -c sbx -a '(__sbx_words)'
complete -c sandboxfile -a '(__sbx_words)'
""",
}


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(SCRIPTS))


def run(args: argparse.Namespace, console: Console) -> int:
    console.print(SCRIPTS[args.shell].rstrip())
    return exits.OK
