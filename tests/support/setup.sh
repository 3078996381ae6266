#!/bin/bash
# Fetches what the tests run against: Debian packages as root, Homebrew on a Mac. Whatever cannot be had is named, with
# the tests that are skipped for want of it; with CI set that is an error. Starts no service.
set -euo pipefail

# command (or path)   Debian package     Homebrew formula   what is skipped without it
needs='
initdb                postgresql         postgresql@16      the PostgreSQL tests
nginx                 nginx              nginx              the nginx tests
python3               python3            python@3           tests whose service is a Python program, and the plist reader
strace                strace             -                  fault injection into system calls
/lib/systemd/systemd  systemd            -                  the tests under a real systemd
dbus-daemon           dbus               -                  the tests under a user manager
setpriv               util-linux         -                  the tests under namespaces and another user
mkfs.ext4             e2fsprogs          -                  the tests on disks that are pulled, filled or closed
mkfs.btrfs            btrfs-progs        -                  the test on a disk whose files share their bytes
mksquashfs            squashfs-tools     -                  the test on an image that is exchanged for another
ps                    procps             -                  tests that compare with ps
'

have() { # COMMAND
  case $1 in
  initdb) command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null \
    || compgen -G '/opt/homebrew/opt/postgresql@*/bin/initdb' >/dev/null ;;
  /*) [[ -x $1 ]] ;;
  *) command -v "$1" >/dev/null ;;
  esac
}

each() { # FUNCTION: called with the four columns of every line that concerns this system
  local command debian brew skipped
  while read -r command debian brew skipped; do
    [[ -z $command ]] && continue
    [[ $(uname) == Darwin && $brew == - ]] && continue
    "$1" "$command" "$debian" "$brew" "$skipped"
  done <<<"$needs"
}

missing=()
note_missing() {
  have "$1" && return
  if [[ $(uname) == Darwin ]]; then missing+=("$3"); else missing+=("$2"); fi
}
name_skipped() {
  have "$1" && return
  echo "setup: skipped for want of $1: $4" >&2
  incomplete=yes
}

each note_missing
if ((${#missing[@]})); then
  echo "setup: fetching ${missing[*]}" >&2
  if [[ $(uname) == Darwin ]]; then
    command -v brew >/dev/null && brew install --quiet "${missing[@]}" || true
  elif [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || true
    # RUNLEVEL=1: the packages' own services stay off
    RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || true
  fi
fi

incomplete=no
each name_skipped
if [[ $(uname) == Linux && $(id -u) != 0 ]]; then
  echo "setup: skipped without root: the tests under a real systemd, as PID 1, and with user = …" >&2
  incomplete=yes
fi
if [[ $incomplete == yes && -n ${CI:-} ]]; then
  echo "setup: cannot run every test, and in CI none may be skipped" >&2
  exit 1
fi
