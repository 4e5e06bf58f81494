#!/usr/bin/env bash
# Installs the project into a fresh environment outside the checkout and tests it there,
# warnings being errors:
#   newest  with the newest Python found and the newest releases of all that setup.cfg
#           names, without the extra "beam", which holds some of them back;
#   floors  with the oldest Python and the oldest releases that setup.cfg allows.
# Pythons are looked for on PATH and among pyenv's versions.
# usage: scripts/check_newest.sh newest|floors [PYTEST ARGUMENTS]
# Without arguments the tests are those of the README's command.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1-} in
  newest | floors) which=$1 ;;
  *) sed -n '2,/^set/{/^#/s/^# \?//p}' "$0" >&2; exit 2 ;;
esac
shift
[ $# -gt 0 ] || set -- tests -n 2 --dist loadfile -m "not slow"

# "VERSION PATH" of each released CPython that runs here; some names are only shims.
pythons() {
  local python
  for python in $(compgen -c python3. | grep -E '^python3\.[0-9]+$' | sort -u) \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
    "$python" -c '
import platform, sys, sysconfig
if sys.version_info[3] == "final" and platform.python_implementation() == "CPython":
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        print(platform.python_version(), sys.executable)' 2>/dev/null || true
  done | sort -V
}

oldest=$(sed -n 's/^python_requires = >=//p' setup.cfg)
if [ "$which" = newest ]; then
  wanted="3.13 or newer"
  found=$(pythons | awk '{split($1, v, "."); if (v[1] == 3 && v[2] >= 13) print $2}')
else
  wanted=$oldest
  found=$(pythons | awk -v is="$oldest." 'index($1, is) == 1 {print $2}')
fi
python=$(tail -n 1 <<<"$found")
if [ -z "$python" ]; then
  echo "error: no Python $wanted on PATH or among pyenv's versions; install one" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export AVEMO_CACHE="$work/cache"
unset PYTHONPATH
"$python" -m venv "$work/venv"
bin="$work/venv/bin"
if [ "$which" = newest ]; then
  "$bin/pip" install --quiet --disable-pip-version-check -e ".[test]"
else
  "$python" -m venv "$work/uv"
  "$work/uv/bin/pip" install --quiet --disable-pip-version-check uv
  "$work/uv/bin/uv" pip install --quiet --python "$bin/python" \
    --resolution lowest-direct -e ".[test]"
fi
"$bin/python" -c "
import importlib.metadata as installed, platform
names = ('jax', 'flax', 'numpy', 'av', 'pillow', 'orbax-checkpoint')
print('Python', platform.python_version(), *(f'{n} {installed.version(n)}' for n in names))"
"$bin/python" -m pytest "$@"
