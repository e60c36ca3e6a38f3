"""The devices that programs are compiled for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import gpu_description
from .environment import missing


@dataclass(frozen=True)
class Target:
    """A device, and several of them, as a compiler is told of them.

    `least_bytes`: arrays are made at least so large, so that none fits into on-chip memory.
    """

    name: str
    title: str
    platform: str
    topology: str
    modules: tuple[str, ...]
    description: str = ""
    least_bytes: int = 0

    @cached_property
    def devices(self) -> Sequence[Any]:
        """Descriptions of the devices; `ModuleNotFoundError` where the compiler is missing."""
        if absent := missing(self.modules):
            raise ModuleNotFoundError(
                f"{self.title} needs {', '.join(absent)}, which is not installed: make platforms "
                "installs what benchmarks/platforms/requirements.txt names",
                name=absent[0],
            )
        if self.platform == "cpu":  # this machine's, which are there
            import jax

            return jax.devices("cpu")
        from jax.experimental import topologies

        if self.platform == "tpu":
            return topologies.get_topology_desc(self.topology, "tpu").devices
        return topologies.get_topology_desc(
            platform=self.platform, target_config=self.description, topology=self.topology
        ).devices

    def compile(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The program of a function for one device, from shapes and dtypes alone."""
        from jax.sharding import SingleDeviceSharding

        one = SingleDeviceSharding(self.devices[0])
        return self.compile_sharded(function, *arguments, in_shardings=one, out_shardings=one)

    def compile_sharded(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """The same with shardings over these devices, as options of `jax.jit`."""
        import jax

        traced = jax.jit(function, **options).trace(*arguments)
        return traced.lower(lowering_platforms=(self.platform,)).compile()


# An array of 256 MiB is more than twice the on-chip memory of either TPU. Smaller ones are kept
# there between the kernels of a program that does nothing else, which a network's would not be.
LEAST_BYTES = 2**28
GPU_MODULES = ("jax_cuda12_plugin", "jax_plugins.xla_cuda12", "nvidia.cuda_nvcc")

TARGETS = {
    target.name: target
    for target in (
        Target("h100", "H100", "cuda", "1x1x1", GPU_MODULES, gpu_description.H100),
        Target("v5e", "TPU v5e", "tpu", "v5e:2x2", ("libtpu",), least_bytes=LEAST_BYTES),
        Target("v6e", "TPU v6e", "tpu", "v6e:2x2", ("libtpu",), least_bytes=LEAST_BYTES),
    )
}
