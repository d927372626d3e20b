# Measurements as arrays: noisy series, their transform, a sparse matrix, labels.
import sys
import numpy as np

rng = np.random.default_rng(2)
time = np.arange(400_000) * 0.001
series = [np.sin(time * k) + rng.normal(scale=0.1, size=time.size) for k in (1, 3, 7)]
spectra = [np.fft.rfft(s) for s in series]
counts = rng.poisson(4, size=(2000, 300))
rows = np.sort(rng.integers(0, 100_000, size=600_000)).astype(np.int32)
columns = rng.integers(0, 5_000, size=600_000).astype(np.int32)
values = np.round(rng.gamma(2.0, 10.0, size=600_000), 2).astype(np.float32)
mask = values > 15
image = (np.add.outer(np.arange(1500), np.arange(1500)) % 256 + rng.integers(0, 4, (1500, 1500))).astype(np.uint8)
labels = np.array(["sample %06d" % i for i in range(40_000)])
objects = {str(label): (float(values[i]), int(rows[i])) for i, label in enumerate(labels)}
print("ready", flush=True)
sys.stdin.read()
