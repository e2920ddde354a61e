#!/usr/bin/env bash
# A small study on a real Slurm: one node on this machine, from Debian's packages. Run as root on a fresh Debian:
#
#   NNDISTILL=/path/to/.venv/bin/nndistill tests/slurm/run.sh
#
# One training is put back into the queue while it runs; the study has to end with all results all the same. Then a further
# run is trained by two processes, through the batch script for several machines.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
nndistill=${NNDISTILL:-$here/../../.venv/bin/nndistill}
folder=$(mktemp -d /tmp/nndistill-slurm.XXXXXX)
host=$(hostname -s)
cores=$(nproc)

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
  apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 slurm-wlm munge >/dev/null
fi

stop() {
  kill "$(cat "$folder/slurmd.pid" 2>/dev/null)" "$(cat "$folder/slurmctld.pid" 2>/dev/null)" 2>/dev/null || true
  [ -n "${munged:-}" ] && kill "$munged" 2>/dev/null || true
  trap - EXIT
}
trap stop EXIT

echo "== a cluster of one node with $cores cores, Slurm $(slurmctld -V)"
[ -f /etc/munge/munge.key ] || /usr/sbin/mungekey --create
install --directory --owner=munge --group=munge /run/munge
runuser -u munge -- /usr/sbin/munged --foreground >"$folder/munged.log" 2>&1 &
munged=$!
conf=/etc/slurm/slurm.conf
if [ -f "$conf" ] && ! grep --quiet ClusterName=nndistill "$conf"; then
  echo "$conf is of another cluster; run this on a machine without one" >&2
  exit 2
fi
mkdir -p /etc/slurm
cat >"$conf" <<CONF
ClusterName=nndistill
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=5
ReturnToService=2
JobRequeue=1
MinJobAge=600
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host CPUs=$cores RealMemory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1100)) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
mkdir -p "$folder/state" "$folder/spool"
slurmctld
slurmd
for _ in $(seq 60); do
  [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ] && break
  sleep 1
done
sinfo

echo "== a study of a teacher and two students"
mkdir -p "$folder/study" "$folder/profile"
cp "$here/study.yaml" "$folder/study/"
cat >"$folder/profile/config.yaml" <<PROFILE
slurm-no-account: true
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 5
latency-wait: 30
PROFILE
export SNAKEMAKE_PROFILE=$folder/profile
"$nndistill" study run "$folder/study/study.yaml" --executor slurm --jobs 2 --workspace "$folder/workspace" \
  >"$folder/run.log" 2>&1 &
study=$!

echo "== one training is put back into the queue after its first checkpoint"
requeued=
while kill -0 "$study" 2>/dev/null; do
  if [ -z "$requeued" ] && compgen -G "$folder/workspace/nnUNet_results/*/*study_*/fold_0/checkpoint_latest.pth" >/dev/null; then
    requeued=$(squeue --noheader --states=RUNNING --format=%A | head -1)
    [ -n "$requeued" ] && scontrol requeue "$requeued" && echo "requeued job $requeued" && squeue
  fi
  sleep 1
done
wait "$study" || { cd "$folder/study" && tail -40 ../run.log work/logs/*; exit 1; }
cat "$folder/run.log"

echo "== results"
[ -n "$requeued" ] || { echo "no training was requeued"; exit 1; }
for run in teacher_f0 none_f0_s0 dcd_f0_s0; do
  test -f "$folder/study/results/$run/run.json"
  epochs=$(($(wc -l <"$folder/study/results/$run/curves.csv") - 1))
  echo "$run: $epochs epochs"
  [ "$epochs" = 6 ]
done
test -f "$folder/study/report/report.html"

echo "== a further run is trained by two processes, by the script that the study has written"
sed --in-place 's/^test: raw/test: raw\nseeds: [0, 1]/' "$folder/study/study.yaml"
job=$(sbatch --parsable --nodes 1 --output "$folder/together.log" "$folder/study/work/several-machines.sbatch" dcd_f0_s1)
for _ in $(seq 900); do
  state=$(squeue --noheader --jobs "$job" --format=%T 2>/dev/null || true)
  [ "$state" = PENDING ] || [ "$state" = RUNNING ] || [ "$state" = COMPLETING ] || break
  sleep 1
done
test -f "$folder/study/results/dcd_f0_s1/run.json" || { cat "$folder/together.log"; exit 1; }
grep --fixed-strings "The world size is 2" "$folder"/workspace/nnUNet_results/*/*study_dcd_f0_s1*/fold_0/console.txt
echo "passed: $(ls "$folder/study/results" | wc -l) results, job $requeued was requeued, job $job trained in two processes"
stop
rm -rf "$folder"
