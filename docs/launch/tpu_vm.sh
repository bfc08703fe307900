#!/bin/bash
# Trains on a slice of Cloud TPU VMs, here a v5e of 4 x 4 chips on 4 machines, and goes on after
# preemption:  bash docs/launch/tpu_vm.sh
set -u
name=jaxgan zone=europe-west4-b kind=v5litepod-16
image=v2-alpha-tpuv5-lite # its Python must be 3.11 or later; uv brings one where it is not
workdir=gs://YOUR-BUCKET/runs/sagan_imagenet128
data=gs://YOUR-BUCKET/imagenet128 # prepared with `python -m jaxgan prepare`
setup='test -d jaxgan || git clone -q YOUR-REPOSITORY jaxgan; cd jaxgan &&
  { test -d venv || { pip install -q uv && python3 -m uv venv -q --python 3.12 venv; }; } &&
  . venv/bin/activate && python3 -m uv pip install -q -e ".[cloud]" "jax[tpu]"'

everywhere() {
  gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker all --command "$1"
}

failures=0
while [ "$failures" -lt 5 ]; do
  state=$(gcloud compute tpus tpu-vm describe "$name" --zone "$zone" --format 'value(state)')
  if [ "$state" != READY ]; then # none yet, or PREEMPTED: a preempted one cannot be started again
    gcloud compute tpus tpu-vm delete "$name" --zone "$zone" --quiet
    gcloud compute tpus tpu-vm create "$name" --zone "$zone" --accelerator-type "$kind" \
      --version "$image" --spot || sleep 300
    continue
  fi
  # The same command the first time and every other: it goes on from the newest checkpoint.
  everywhere "$setup && python train.py --config configs/sagan_imagenet128.py --distributed \
    --workdir $workdir --config.data.path=$data" && break
  state=$(gcloud compute tpus tpu-vm describe "$name" --zone "$zone" --format 'value(state)')
  if [ "$state" = READY ]; then # not preempted: a mistake, or a machine that was lost
    failures=$((failures + 1))
  fi
  sleep 60
done
gcloud compute tpus tpu-vm delete "$name" --zone "$zone" --quiet
