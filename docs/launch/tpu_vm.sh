#!/bin/bash
# Trains on a slice of Cloud TPU VMs, here a v5e of 4 x 4 chips on 4 machines, and goes on after
# preemption:  bash docs/launch/tpu_vm.sh
set -u
name=jaxgan zone=europe-west4-b kind=v5litepod-16 image=v2-alpha-tpuv5-lite
workdir=gs://YOUR-BUCKET/runs/sagan_imagenet128
data=gs://YOUR-BUCKET/imagenet128 # prepared with `python -m jaxgan prepare`
setup='pip install -q -U "jax[tpu]" && cd jaxgan && pip install -q -e .'

everywhere() {
  gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker all --command "$1"
}

while true; do
  state=$(gcloud compute tpus tpu-vm describe "$name" --zone "$zone" --format 'value(state)')
  if [ "$state" != READY ]; then # none yet, or PREEMPTED: a preempted one cannot be started again
    gcloud compute tpus tpu-vm delete "$name" --zone "$zone" --quiet
    gcloud compute tpus tpu-vm create "$name" --zone "$zone" --accelerator-type "$kind" \
      --version "$image" --spot || { sleep 300; continue; }
    everywhere "git clone YOUR-REPOSITORY jaxgan; $setup" || continue
  fi
  # The same command the first time and every other: it goes on from the newest checkpoint.
  everywhere "cd jaxgan && python train.py --config configs/sagan_imagenet128.py --distributed \
    --workdir $workdir --config.data.path=$data --config.parallel.fsdp=1"
  code=$?
  if [ "$code" -eq 0 ]; then break; fi
  if [ "$code" -eq 2 ]; then
    echo "a mistake, or a lost machine; its sentence is above. Trying again in a minute (Ctrl-C ends)"
  fi
  sleep 60
done
gcloud compute tpus tpu-vm delete "$name" --zone "$zone" --quiet
