# What scripts/demo and scripts/test share: Debian packages, a Python, a virtual environment. Sourced by bash.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$repository/.venv

packages=(
  qemu-system-x86 qemu-utils bubblewrap mmdebstrap erofs-utils uidmap e2fsprogs kmod lz4 zstd xz-utils
  debian-archive-keyring libseccomp2 ca-certificates git
)

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "root rights are needed for: $*"
  fi
}

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Install what is missing of the Debian packages named; nothing at all when nothing is.
install_packages() {
  command -v apt-get >/dev/null || {
    say "no apt-get here: install the requirements that \`sbx doctor\` names by hand"
    return 0
  }
  local package missing=()
  for package in "$@"; do is_installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing: ${missing[*]}"
  as_root apt-get update -qq >/dev/null || say "apt-get update had problems; going on with what it got"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    </dev/null >"$(log_file)" 2>&1 || {
    tail -n 30 "$(log_file)" >&2
    die "apt-get install failed: ${missing[*]}"
  }
}

log_file() {
  mkdir -p "$repository/build"
  echo "$repository/build/setup.log"
}

# QEMU 8 and later have the file server in a package of its own.
install_requirements() {
  install_packages "${packages[@]}"
  if [ ! -x /usr/lib/qemu/virtiofsd ] && ! [ -x /usr/libexec/virtiofsd ] && ! command -v virtiofsd >/dev/null; then
    install_packages virtiofsd
  fi
}

is_new_enough() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

# Print the first Python of at least 3.12 that can make virtual environments: $PYTHON, then PATH, then pyenv's.
find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.14 python3.13 python3.12 python3 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python "$HOME"/.pyenv/versions/*/bin/python; do
    [ -n "$candidate" ] || continue
    candidate=$(command -v "$candidate") || continue
    if is_new_enough "$candidate"; then
      # a shim of pyenv's is a script: name the interpreter itself
      "$candidate" -c 'import sys; print(sys.executable)'
      return 0
    fi
  done
  return 1
}

# Make .venv with this project (editable) and the dependency groups named; again only when pyproject.toml has changed.
make_venv() {
  local python stamp installed group current=yes
  stamp=$(sha256sum <"$repository/pyproject.toml" | cut -c1-16)
  installed=$(cat "$venv/.installed" 2>/dev/null) || true
  for group in "$stamp" "$@"; do [[ " $installed " == *" $group "* ]] || current=no; done
  [ $current = yes ] && "$venv/bin/python" -P -c 'import sandboxfile' 2>/dev/null && return 0
  if [ ! -x "$venv/bin/pip" ]; then
    python=$(find_python) || {
      install_packages python3 python3-venv
      python=$(find_python) || die "no Python 3.12 or later found: set PYTHON to one"
    }
    say "making $venv with $python"
    "$python" -m venv --clear "$venv"
  fi
  local wanted
  mapfile -t wanted < <("$venv/bin/python" - "$repository/pyproject.toml" "$@" <<'END'
import sys, tomllib
groups = tomllib.load(open(sys.argv[1], "rb"))["dependency-groups"]
print("\n".join(need for name in sys.argv[2:] for need in groups[name]), end="")
END
  )
  say "installing sandboxfile and what it needs into $venv"
  "$venv/bin/pip" install -qq --disable-pip-version-check -e "$repository" "${wanted[@]}"
  echo "$stamp $*" >"$venv/.installed"
}
