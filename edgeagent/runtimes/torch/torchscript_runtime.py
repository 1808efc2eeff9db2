# SPDX-License-Identifier: AGPL-3.0-or-later
"""TorchScript files (`.torchscript`) in torch, after `torchscript_file` has judged them."""

from __future__ import annotations

import io
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import torch
    import torchvision  # noqa: F401  (its NMS, for networks that have it built in)

from edgeagent.errors import UsageError, WeightsError
from edgeagent.runtimes.cuda.device import choose_device
from edgeagent.runtimes.cuda.graph import CudaNetwork
from edgeagent.runtimes.port import EngineOptions, Tensor, WeightFiles
from edgeagent.runtimes.torch.threads import set_threads
from edgeagent.runtimes.torch.torchscript_file import read_script
from edgeagent.runtimes.variants import engine_name


class TorchScriptRuntime:
    """One traced network, frozen, in torch's interpreter of TorchScript."""

    max_batch = 1  # a trace keeps the batch that it was made with

    def __init__(self, weights: WeightFiles, options: EngineOptions) -> None:
        """Sets the thread counts of this process. Raises WeightsError, UsageError (device or precision)."""
        set_threads(options.threads)
        device = choose_device(options.device)
        self._path = path = weights.path
        archive, self.metadata = read_script(path)
        if options.precision == "fp32" or (options.precision == "fp16" and device.type == "cuda"):
            self.name = engine_name("torchscript", device.type, options.precision)
        else:
            raise UsageError(
                f"engine precision {options.precision}", f"is none of torch on {device.type}", "use fp32"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                network = torch.jit.load(io.BytesIO(archive), map_location=device).eval()  # type: ignore[no-untyped-call]
                self._network = torch.jit.freeze(network.half() if options.precision == "fp16" else network)
        except RuntimeError as e:
            raise WeightsError(
                f"weights {path}", f"torch can't load them ({_reason(e)})", "export them anew"
            ) from e
        self._half = options.precision == "fp16"
        self._cuda = CudaNetwork(self._forward, device, capture=False) if device.type == "cuda" else None

    def run(self, batch: Tensor) -> Tensor:
        """See `Runtime.run`."""
        try:
            if self._cuda is not None:
                return self._cuda.run(batch)
            with torch.inference_mode():
                raw: Tensor = self._forward(torch.from_numpy(batch)).numpy()
        except RuntimeError as e:
            raise WeightsError(f"weights {self._path}", f"torch can't run them ({_reason(e)})") from e
        return raw

    def streams(self) -> tuple[()]:
        """See `Runtime.streams`: none."""
        return ()

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._network, self._cuda

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        output = self._network(batch.half() if self._half else batch)
        if not isinstance(output, torch.Tensor):
            raise WeightsError(
                f"weights {self._path}", f"the network gives a {type(output).__name__}, not a tensor"
            )
        return output.float()


def _reason(error: RuntimeError) -> str:
    """The last line of torch's message, where the reason stands, in bearable length."""
    return (str(error).strip().splitlines() or ["no reason given"])[-1].strip()[:300]
