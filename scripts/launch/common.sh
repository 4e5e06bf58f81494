# Functions of all launchers, which source this file.
# shellcheck shell=bash

PREEMPTED=75 # stopped by SIGTERM and saved
LOST=134     # ended because another process was gone
DRY_RUN=false

# The comment at the head of a script, without its first line and the marks.
usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 2
}

# need NAME VALUE WHAT: an option that must be given.
need() {
    [[ -n $2 ]] || fail "no $1; expected $3; see --help"
}

# value NAME COUNT: an option that has a value after it.
value() {
    [[ $2 -ge 2 ]] || fail "$1 has no value; see --help"
}

# The command, as it can be pasted into a shell.
quoted() {
    local text
    text=$(printf '%q ' "$@")
    printf '%s\n' "${text% }"
}

# Runs the command; with --dry-run only prints it.
run() {
    if $DRY_RUN; then
        quoted "$@"
    else
        "$@"
    fi
}

# Checks the program's own arguments: there are some, and data is on this machine.
check_program() {
    [[ $# -gt 0 ]] || fail "nothing after --; expected the program's arguments, e.g. -- --config configs/expr_mlp.py"
    local argument path
    for argument in "$@"; do
        case $argument in
        --config.data.dir=*://* | --data[_-]dir=*://*)
            path=${argument#*=}
            fail "$argument: data is read from files; copy it to each host: gcloud storage cp -r $path DIR"
            ;;
        --distributed* | --coordinator* | --num[_-]processes* | --process[_-]id*)
            fail "$argument: this script gives it; leave it out"
            ;;
        esac
    done
}

# Prints what an exit status means, and ends with it.
leave() {
    case $1 in
    0) ;;
    "$PREEMPTED") echo "stopped and saved: the same command goes on" >&2 ;;
    "$LOST") echo "a process was lost: look at the output above; the same command goes on from the last checkpoint" >&2 ;;
    *) echo "ended with status $1: mend what the output says; the same command goes on" >&2 ;;
    esac
    exit "$1"
}
