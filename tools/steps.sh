# Shared by tools/quickstart and tools/check (sourced): numbered steps, quiet commands with a sign of
# life, and the Debian packages of tools/packages. The caller sets: root, logs (a folder),
# step_count, and `verdict_fail STEP WHY LOG`, which does not return.
# shellcheck shell=bash

# Colour and rewritten lines are for a terminal; a log gets plain lines.
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then on_terminal=yes; else on_terminal=; fi
if [ -n "$on_terminal" ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' green='' red='' plain=''
fi
export LC_ALL=C.UTF-8

readonly sign_of_life_s=20  # how often a log hears of a command that is still running
step_number=0
step_name=
step_began=0

step() {
  step_number=$((step_number + 1))
  step_name=$1
  step_began=$SECONDS
  printf '%s[%d/%d] %s%s\n' "$bold" "$step_number" "$step_count" "$step_name" "$plain"
}
step_done() { printf '      %sok%s  %s (%ds)\n' "$green" "$plain" "$1" $((SECONDS - step_began)); }

# The last line a command wrote, cut to fit.
last_words() { tail -n 1 "$1" 2>/dev/null | tr -d '\r' | cut -c 1-70; }

quiet_pid=  # leads a session of its own, so that all its children end with it
stop_quiet() {
  [ -z "$quiet_pid" ] || kill -- "-$quiet_pid" 2>/dev/null
  echo "${0##*/}: interrupted: $step_name"
  exit 130
}
trap stop_quiet INT TERM HUP

# run_quiet LOG COMMAND...: output goes to LOG; says now and then how far it is. Returns the
# command's status.
run_quiet() {
  local log=$1 began=$SECONDS spoke=$SECONDS status=0
  shift
  setsid "$@" >"$log" 2>&1 </dev/null &
  quiet_pid=$!
  while kill -0 "$quiet_pid" 2>/dev/null; do
    sleep 0.2
    if [ -n "$on_terminal" ]; then
      printf '\r\e[K      %3ds  %s' $((SECONDS - began)) "$(last_words "$log")"
    elif [ $((SECONDS - spoke)) -ge $sign_of_life_s ]; then
      printf '      %3ds  %s\n' $((SECONDS - began)) "$(last_words "$log")"
      spoke=$SECONDS
    fi
  done
  [ -z "$on_terminal" ] || printf '\r\e[K'
  wait "$quiet_pid" || status=$?
  quiet_pid=
  return $status
}

# must LOG COMMAND...: like run_quiet; a failure shows the log's end and gives the verdict.
must() {
  local log=$1 status=0
  run_quiet "$@" || status=$?
  [ $status -eq 0 ] && return
  shift
  tail -n 25 "$log" | sed 's/^/      | /'
  verdict_fail "$step_name" "'$1 ${2:-}' ended with status $status" "$log"
}

# --- packages -------------------------------------------------------------------------------------
# The packages of the given purposes, one a line.
packages_of() {
  awk -v want=" $* " '$1 !~ /^#/ && NF && index(want, " " $1 " ") {print $2}' "$root/tools/packages"
}

missing_packages() {
  local package
  for package in $(packages_of "$@"); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      printf '%s ' "$package"
  done
}

# Installs what is missing (root) or says what to type (not root).
ensure_packages() {
  local missing install log=$logs/packages.log
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    verdict_fail packages "this is no Debian system: the libraries' names elsewhere are in flake.nix (nix develop)" ""
  missing=$(missing_packages "$@")
  if [ -z "$missing" ]; then
    step_done "$(packages_of "$@" | wc -l) Debian packages are installed"
    return
  fi
  install="apt-get install -y --no-install-recommends ${missing% }"
  if [ "$(id -u)" -ne 0 ]; then
    echo "      Debian packages are missing. Install them with:"
    echo "      sudo apt-get update && sudo $install"
    verdict_fail packages "Debian packages are missing; the line above installs them" ""
  fi
  echo "      installing ${missing% }"
  must "$log" apt-get -q update
  # shellcheck disable=SC2086 # a list of words
  must "$log" env DEBIAN_FRONTEND=noninteractive $install
  missing=$(missing_packages "$@")
  [ -z "$missing" ] || verdict_fail packages "apt-get left these missing: $missing" "$log"
  step_done "Debian packages are installed"
}

# configure_and_build PRESET FOLDER TARGET [CMAKE_OPTION...]: one job per core.
configure_and_build() {
  local preset=$1 folder=$2 target=$3 log
  log=$logs/build-${2##*/}.log
  shift 3
  # A cache that cannot be written would fail every compilation: an unwritable HOME, say.
  local cache=${CCACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nowhere}/.cache}/ccache}
  if command -v ccache >/dev/null && mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ]; then
    set -- "$@" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
  else
    set -- "$@" -DCMAKE_CXX_COMPILER_LAUNCHER=
  fi
  must "$log.configure" cmake -S "$root" --preset "$preset" -B "$folder" "$@"
  must "$log" cmake --build "$folder" --target "$target" -j "$(nproc)"
}
