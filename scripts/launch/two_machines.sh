#!/usr/bin/env bash
# Trains on several machines by ssh: the same command on each, the first coordinates.
#
#   two_machines.sh --hosts A,B [OPTIONS] -- --config configs/expr_mlp.py --workdir=/nfs/run
#
#   --hosts A,B     names for ssh; "localhost" runs here without it (twice: a trial)
#   --address NAME  of the first host as the others reach it (default: its name)
#   --port PORT     free on the first host, open to the others (default: 8476)
#   --dir DIR       the checkout on each host (default: this one's path)
#   --python FILE   its Python, from there (default: .venv/bin/python)
#   --dry-run       prints the commands, runs nothing
#
# The work directory must lie on a disk that all hosts mount at the same path, or be
# gs://BUCKET/FOLDER. SIGTERM or Ctrl-C saves and stops all; status 75: saved, the same
# command goes on.

set -euo pipefail
# shellcheck source=scripts/launch/common.sh
. "$(dirname "$0")/common.sh"

hosts="" address="" port=8476 python=.venv/bin/python
dir=$(cd "$(dirname "$0")/../.." && pwd)
while [[ $# -gt 0 ]]; do
    case $1 in
    --help | -h) usage && exit ;;
    --dry-run) DRY_RUN=true && shift && continue ;;
    --) shift && break ;;
    --hosts | --address | --port | --dir | --python) value "$1" $# ;;
    *) fail "unknown option $1; the program's own come after --; see --help" ;;
    esac
    printf -v "${1#--}" '%s' "$2"
    shift 2
done
need --hosts "$hosts" "the machines, e.g. --hosts a,b"
[[ $port =~ ^[0-9]+$ ]] || fail "--port $port; expected a number"
check_program "$@"

IFS=, read -r -a names <<<"$hosts"
for host in "${names[@]}"; do
    [[ -n $host ]] || fail "--hosts $hosts; expected names with a comma between them"
done
[[ -n $address ]] || address=${names[0]}
number=$$-$RANDOM

# on HOST COMMAND: runs a line of shell on a host.
on() {
    if [[ $1 == localhost ]]; then
        bash -c "$2"
    else
        ssh -o BatchMode=yes "$1" "$2"
    fi
}

parts=() pids=()
for i in "${!names[@]}"; do
    parts[i]="cd $(quoted "$dir") && echo \$\$ >/tmp/avemo-$number-$i.pid && exec $(
        quoted "$python" -m avemo_jax.main --distributed=on "--coordinator=$address:$port" \
            "--num-processes=${#names[@]}" "--process-id=$i" "$@"
    )"
done
if $DRY_RUN; then
    for i in "${!names[@]}"; do
        if [[ ${names[i]} == localhost ]]; then
            quoted bash -c "${parts[i]}"
        else
            quoted ssh -o BatchMode=yes "${names[i]}" "${parts[i]}"
        fi
    done
    exit
fi

# shellcheck disable=SC2329  # a trap calls it
signal_all() {
    for i in "${!names[@]}"; do
        # A part that has ended has no process any more, and kill fails: that is fine.
        on "${names[i]}" "kill -$1 \$(cat /tmp/avemo-$number-$i.pid) 2>/dev/null" || true
    done
}

forget() {
    for i in "${!names[@]}"; do
        on "${names[i]}" "rm -f /tmp/avemo-$number-$i.pid"
    done
}

trap 'signal_all TERM' TERM INT
for i in "${!names[@]}"; do
    on "${names[i]}" "${parts[i]}" &
    pids[i]=$!
done

# A signal ends "wait" early: it is called again until the part has really ended.
worst=0
for pid in "${pids[@]}"; do
    while true; do
        status=0
        wait "$pid" || status=$?
        kill -0 "$pid" 2>/dev/null || break
    done
    # The error of one part says more than that the others lost it.
    if [[ $worst -eq 0 || $worst -eq $LOST || $worst -eq $PREEMPTED ]]; then
        [[ $status -eq 0 ]] || worst=$status
    fi
done
forget
leave "$worst"
