"""One of two TensorFlow workers: python tensorflow_worker.py ADDRESSES INDEX RESULT."""

import json
import os
import sys
from pathlib import Path

import job
import keras
import numpy as np
import tensorflow as tf

from keras_focal import losses


def main(addresses, index, result):
    task = {"type": "worker", "index": index}
    cluster = {"worker": addresses.split(",")}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    # Before anything else of TensorFlow.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    assert strategy.num_replicas_in_sync == 2
    found = trained(strategy, index)
    own = [tf.constant(np.split(array, 2)[index]) for array in job.data()]
    for name in job.LOSSES:
        values, gradient = strategy.run(differentiate, (job.loss_of(name), *own))
        value = strategy.reduce("sum", values, axis=None)
        found[name] = {"value": float(value), "gradient": gradient.numpy().tolist()}
    result.write_text(json.dumps(found))


@tf.function
def differentiate(loss, x, *rest):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x, *rest)
    return value, tape.gradient(value, x)


def trained(strategy, index):
    """Return the losses, the metrics and the kernel of a loop of one's own."""
    with strategy.scope():
        model, built = job.built_model(), job.built_metrics()
        optimizer = keras.optimizers.SGD(job.RATE)
        optimizer.build(model.trainable_variables)
        focal = losses.SparseCategoricalFocalCrossentropy(from_logits=True)
    batches, history = job.Batches(index, workers=2), []

    def update(x, y, weights):
        with tf.GradientTape() as tape:
            logits = model(x)
            loss = focal(y, logits, weights)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        for metric in built:
            metric.update_state(y, logits, weights)
        return loss

    @tf.function
    def step(*batch):
        return strategy.reduce("sum", strategy.run(update, batch), axis=None)

    for gamma in job.SCHEDULE.values():
        focal.gamma = gamma
        for metric in built:
            metric.reset_state()
        for number in range(len(batches)):
            history.append(float(step(*map(tf.constant, batches[number]))))
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel).tolist()
    return {"losses": history, "metrics": job.numbers(built), "kernel": kernel}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
