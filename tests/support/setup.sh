#!/bin/bash
# Installs the programs that the tests run: Debian packages as root, Homebrew packages on a Mac. Starts no service.
# For each program that cannot be installed it names the tests that will fail without it; with CI set it then exits 1.
#
# setup.sh --arguments    prints the arguments for the test harness on this machine, and installs nothing:
#                         root also runs the tests that are marked #[ignore = "needs root"], except those in a module
#                         needs_… for which this machine's kernel is too old
set -euo pipefail

# command (or path)   Debian package     Homebrew formula   tests that need it
needs='
initdb                postgresql         postgresql@16      the PostgreSQL tests
nginx                 nginx              nginx              the nginx tests
pgbouncer             pgbouncer          pgbouncer          the test of a probe through PgBouncer
python3               python3            python@3           tests whose service is a Python program, and the plist reader
strace                strace             -                  tests that trace a service or make its system calls fail
/lib/systemd/systemd  systemd            -                  the tests under a real systemd
dbus-daemon           dbus               -                  the tests under a user manager
setpriv               util-linux         -                  the tests in namespaces and as another user
su                    util-linux         -                  the test of the variables that a user gets
mkfs.ext4             e2fsprogs          -                  the tests on disks that are pulled, filled or frozen
mkfs.btrfs            btrfs-progs        -                  the tests on disks whose files share blocks or that have subvolumes
mksquashfs            squashfs-tools     -                  the test on an image that is replaced by another
ps                    procps             -                  tests that list processes with ps and pgrep
groff                 groff              groff              the test that renders the man pages
'

arguments() {
  [[ $(id -u) == 0 ]] || return 0
  printf '%s' --include-ignored
  # a pid_max per pid namespace
  if [[ $(printf '6.14\n%s\n' "$(uname -r)" | sort -V | head -n 1) != 6.14 ]]; then
    printf ' %s' --skip needs_linux_6_14
  fi
}

have() { # COMMAND
  case $1 in
  initdb) command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null \
    || compgen -G '/opt/homebrew/opt/postgresql@*/bin/initdb' >/dev/null ;;
  /*) [[ -x $1 ]] ;;
  *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
  esac
}

each() { # FUNCTION: called with the four columns of every line that concerns this system
  local command debian brew tests
  while read -r command debian brew tests; do
    [[ -z $command ]] && continue
    [[ $(uname) == Darwin && $brew == - ]] && continue
    "$1" "$command" "$debian" "$brew" "$tests"
  done <<<"$needs"
}

missing=()
note_missing() {
  have "$1" && return
  if [[ $(uname) == Darwin ]]; then missing+=("$3"); else missing+=("$2"); fi
}
report_missing() {
  have "$1" && return
  echo "setup: $1 is not installed; these tests will fail: $4" >&2
  incomplete=yes
}

if [[ ${1-} == --arguments ]]; then
  arguments
  exit
fi

each note_missing
if ((${#missing[@]})); then
  echo "setup: installing ${missing[*]}" >&2
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
each report_missing
if [[ $(uname) == Linux && $(id -u) != 0 ]]; then
  echo 'setup: not root: the tests marked #[ignore = "needs root"] will not run' >&2
  incomplete=yes
fi
if [[ $incomplete == yes && -n ${CI:-} ]]; then
  echo "setup: this machine cannot run every test, and CI requires all of them" >&2
  exit 1
fi
