#!/usr/bin/env bash
# Trains on a Cloud TPU, one host or a pod: installs, copies the store, runs on all hosts.
#
#   tpu_pod.sh --tpu NAME --zone ZONE [OPTIONS] -- --config configs/expr_mlp.py --workdir=gs://B/run
#
#   --tpu NAME      of the TPU VM, which exists
#   --zone ZONE     its zone; --project P: its project
#   --repository R  that its hosts clone (default: this checkout's origin)
#   --revision R    to check out there (default: this checkout's)
#   --store SOURCE  gs://... or a folder here: copied to ~/store on each host; a path
#                   that begins with host: is there already, e.g. host:/mnt/nfs/store
#   --skip-install  the hosts have it installed
#   --dry-run       prints the commands, runs nothing
#
# The work directory must be gs://BUCKET/FOLDER or on a disk that all hosts mount.
# A preempted TPU is made anew by you or by a queued resource; the same command goes on.

set -euo pipefail
# shellcheck source=scripts/launch/common.sh
. "$(dirname "$0")/common.sh"

tpu="" zone="" project="" repository="" revision="" store="" install=true
while [[ $# -gt 0 ]]; do
    case $1 in
    --help | -h) usage && exit ;;
    --dry-run) DRY_RUN=true && shift && continue ;;
    --skip-install) install=false && shift && continue ;;
    --) shift && break ;;
    --tpu | --zone | --project | --repository | --revision | --store) value "$1" $# ;;
    *) fail "unknown option $1; the program's own come after --; see --help" ;;
    esac
    printf -v "${1#--}" '%s' "$2"
    shift 2
done
need --tpu "$tpu" "the name of the TPU VM"
need --zone "$zone" "its zone, e.g. --zone us-west4-a"
check_program "$@"
case " $* " in
*" --workdir="* | *" --workdir "*) ;;
*) fail "no --workdir after --; expected gs://BUCKET/FOLDER, or a folder that all hosts mount" ;;
esac

here=$(cd "$(dirname "$0")/../.." && pwd)
if $install; then
    [[ -n $repository ]] || repository=$(git -C "$here" remote get-url origin 2>/dev/null) ||
        fail "this checkout has no origin; expected --repository URL, or --skip-install"
    [[ -n $revision ]] || revision=$(git -C "$here" rev-parse HEAD 2>/dev/null) ||
        fail "this is no checkout; expected --revision, or --skip-install"
fi

where=("$tpu" --zone "$zone")
[[ -z $project ]] || where+=(--project "$project")
on_all() {
    run gcloud compute tpus tpu-vm ssh "${where[@]}" --worker=all "--command=$1"
}

if $install; then
    on_all "set -e; test -d avemo_jax || git clone $(quoted "$repository") avemo_jax; cd avemo_jax; git fetch --quiet; git checkout --quiet $(quoted "$revision"); test -d .venv || python3 -m venv .venv; .venv/bin/pip install --quiet --editable '.[tpu,gcs]'"
fi

data=""
# The hosts' shells expand what is in single quotes.
# shellcheck disable=SC2016
case $store in
"") ;;
gs://*)
    on_all "rm -rf store.part && mkdir store.part && gcloud storage cp -r $(quoted "${store%/}/*") store.part/ && rm -rf store && mv store.part store"
    data='--config.data.dir="$HOME/store"'
    ;;
host:*) data=--config.data.dir=$(quoted "${store#host:}") ;;
*)
    $DRY_RUN || [[ -d $store ]] || fail "--store $store is no folder here; expected one, gs://..., or host:PATH"
    on_all "rm -rf store"
    run gcloud compute tpus tpu-vm scp --recurse "$store" "$tpu:store" "${where[@]:1}" --worker=all
    data='--config.data.dir="$HOME/store"'
    ;;
esac

status=0
on_all "cd avemo_jax && .venv/bin/python -m avemo_jax.main --distributed=auto $(quoted "$@") $data" || status=$?
leave "$status"
