#!/usr/bin/env bash
# Submits a training to SLURM: one process for each GPU of each node.
#
#   slurm.sh --nodes N [OPTIONS] -- --config configs/expr_mlp.py --workdir=/shared/run
#
#   --nodes N       machines
#   --gpus N        of each node, a process for each (default: 0, one process, on CPUs)
#   --cpus N        CPU cores of each process (default: 8)
#   --time LIMIT    as sbatch takes it (default: 04:00:00)
#   --partition P   and --account A: as the cluster wants them
#   --dir DIR       the checkout, on a disk that all nodes share (default: this one's)
#   --python FILE   its Python, from there (default: .venv/bin/python)
#   --dry-run       prints the command and the batch script, submits nothing
#
# Two minutes before the limit, or when it is preempted, the job is told by SIGTERM: all
# processes save and end with status 75, and the job is put into the queue again, where
# it goes on.

set -euo pipefail
# shellcheck source=scripts/launch/common.sh
. "$(dirname "$0")/common.sh"

nodes="" gpus=0 cpus=8 time=04:00:00 partition="" account="" python=.venv/bin/python
dir=$(cd "$(dirname "$0")/../.." && pwd)
while [[ $# -gt 0 ]]; do
    case $1 in
    --help | -h) usage && exit ;;
    --dry-run) DRY_RUN=true && shift && continue ;;
    --) shift && break ;;
    --nodes | --gpus | --cpus | --time | --partition | --account | --dir | --python)
        value "$1" $#
        ;;
    *) fail "unknown option $1; the program's own come after --; see --help" ;;
    esac
    printf -v "${1#--}" '%s' "$2"
    shift 2
done
need --nodes "$nodes" "the number of machines, e.g. --nodes 2"
for option in nodes gpus cpus; do
    [[ ${!option} =~ ^[0-9]+$ ]] || fail "--$option ${!option}; expected a number"
done
check_program "$@"

options=(--nodes="$nodes" --ntasks-per-node=$((gpus > 0 ? gpus : 1)))
# All processes of a node see all its GPUs; each takes the one with its local number.
[[ $gpus -eq 0 ]] || options+=(--gpus-per-node="$gpus")
options+=(--cpus-per-task="$cpus" --time="$time" --signal=TERM@120 --requeue)
options+=(--open-mode=append --job-name=avemo_jax)
[[ -z $partition ]] || options+=(--partition="$partition")
[[ -z $account ]] || options+=(--account="$account")

distributed=on
[[ $((nodes * (gpus > 0 ? gpus : 1))) -gt 1 ]] || distributed=off
job="#!/usr/bin/env bash
cd $(quoted "$dir") || exit 1
status=0
srun --kill-on-bad-exit=0 $(
    quoted "$python" -m avemo_jax.main --distributed=$distributed "$@"
) || status=\$?
if [[ \$status -eq $PREEMPTED ]]; then
    scontrol requeue \"\$SLURM_JOB_ID\"
fi
exit \$status"

if $DRY_RUN; then
    quoted sbatch "${options[@]}"
    printf '%s\n' "$job"
    exit
fi
sbatch "${options[@]}" <<<"$job"
