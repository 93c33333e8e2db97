"""One of two processes of a torch program: python torch_worker.py ADDRESSES INDEX RESULT."""

import json
import sys
from pathlib import Path

import job
import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from keras_focal import losses


def main(addresses, index, result):
    first, _ = addresses.split(",")
    distributed.init_process_group("gloo", init_method=f"tcp://{first}", rank=index, world_size=2)
    found = trained(index)
    x, *rest = (torch.from_numpy(np.split(array, 2)[index]) for array in job.data())
    for name in job.LOSSES:
        own = x.clone().requires_grad_()
        value = job.loss_of(name)(own, *rest)
        # As DistributedDataParallel does with the gradients of weights.
        (value / 2).backward()
        distributed.all_reduce(value.detach_())
        found[name] = {"value": float(value / 2), "gradient": own.grad.tolist()}
    result.write_text(json.dumps(found))
    distributed.destroy_process_group()


def trained(index):
    """Return the losses, the metrics and the kernel of a loop of one's own."""
    model, batches = job.built_model(), job.Batches(index, workers=2)
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), job.RATE)
    focal = losses.SparseCategoricalFocalCrossentropy(from_logits=True)
    built, history = job.built_metrics(), []
    for gamma in job.SCHEDULE.values():
        focal.gamma = gamma
        for metric in built:
            metric.reset_state()
        for number in range(len(batches)):
            x, y, weights = map(torch.from_numpy, batches[number])
            optimizer.zero_grad()
            logits = parallel(x)
            loss = focal(y, logits, weights)
            loss.backward()
            optimizer.step()
            for metric in built:
                metric.update_state(y, logits.detach(), weights)
            distributed.all_reduce(mean := loss.detach() / 2)
            history.append(float(mean))
    merged = [merged_of_all(metric) for metric in built]
    kernel = model.layers[0].kernel.value.detach().tolist()
    return {"losses": history, "metrics": job.numbers(merged), "kernel": kernel}


def merged_of_all(metric):
    """Return a metric with the states of all processes: they send them as arrays."""
    states = [None] * distributed.get_world_size()
    distributed.all_gather_object(states, [variable.numpy() for variable in metric.variables])
    parts = [type(metric).from_config(metric.get_config()) for _ in states]
    for part, state in zip(parts, states, strict=True):
        for variable, value in zip(part.variables, state, strict=True):
            variable.assign(value)
    first, *others = parts
    first.merge_state(others)
    return first


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
