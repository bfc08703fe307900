#!/bin/bash
# Trains on 2 nodes with 8 GPUs each, one process a GPU:  sbatch docs/launch/slurm.sh
#SBATCH --job-name=jaxgan
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# Ten minutes before the end, and when it is preempted, each process gets SIGTERM: all stop after the
# same step with a checkpoint. The job is put back into the queue, and the same command goes on.
#SBATCH --signal=TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -u
workdir=$HOME/runs/sngan_imagenet128 # on a file system that all nodes see

srun --kill-on-bad-exit=1 \
  python train.py --config configs/sngan_imagenet128.py --workdir "$workdir" \
  --config.data.path="$HOME/imagenet128" "$@"
code=$?

# 143: stopped by a signal, with a checkpoint. Other codes: a mistake, or a process that was lost,
# after which SLURM itself puts the job back where a node has failed.
if [ "$code" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
