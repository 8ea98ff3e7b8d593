"""Hooks on modules of the UNet that live for one call of it.

A hook replaces the module's ``forward``. torch's own forward hooks would do in eager mode, but torch.compile does not
check whether hooks were added since it compiled (``torch._dynamo.config.skip_nnmodule_hook_guards``), and the edit
would silently be left out; it does check for a replaced ``forward``. To the compiler a hook is one custom operation
that it does not look into, so the UNet stays one graph, and another multiplier needs no compiling.

Several threads may run one UNet at once, each with hooks of its own or with none: what stands in a module only asks
the call that runs whether there is something to do, and it is taken out when no call needs it any more.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

# input and output of a module -> new output; the output itself to leave it alone
Hook = Callable[[Tensor, Tensor], Tensor]

_HOOKS: ContextVar[Mapping[str, tuple[Hook, ...]]] = ContextVar("hooks", default={})  # noqa: B039 (never changed)
"""Those of the call that runs now, by module path: compiled code keeps paths, but nothing that belongs to one call."""


@contextmanager
def hooked(unet: nn.Module, hooks: Sequence[tuple[str, Hook]]) -> Iterator[None]:
    """Let each hook act on what the module at its path gives, in order, after those that an outer call put there."""
    with acting(hooks), ExitStack() as undo:
        for path in dict.fromkeys(path for path, _ in hooks):
            undo.callback(_put_in(unet.get_submodule(path), path).take_out)
        yield


class _Installed:
    """What stands in one module in place of its ``forward`` while at least one call needs it."""

    def __init__(self, module: nn.Module, path: str) -> None:
        self._module = weakref.ref(module)
        self._replaced = vars(module).get("forward")  # by another pack; the class's own is not in there
        self._users = 0
        inner = module.forward

        def forward(module_input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return run_hooks(module_input, inner(module_input, *args, **kwargs), path)

        self._forward = module.forward = forward

    def in_place(self) -> bool:
        """Whether calls of the module still come through here. Another pack may have put its own on top."""
        module = self._module()
        return module is not None and "forward" in vars(module)

    def put_in(self) -> _Installed:
        self._users += 1
        return self

    def take_out(self) -> None:
        with _LOCK:
            self._users -= 1
            module = self._module()
            # What another pack put on top meanwhile stays, and leads through here, where without a call's hooks
            # nothing is done.
            if self._users or module is None or vars(module).get("forward") is not self._forward:
                return
            if self._replaced is None:
                del module.forward
            else:
                module.forward = self._replaced
            _INSTALLED.pop(module, None)


_LOCK = threading.Lock()
_INSTALLED: weakref.WeakKeyDictionary[nn.Module, _Installed] = weakref.WeakKeyDictionary()


def _put_in(module: nn.Module, path: str) -> _Installed:
    with _LOCK:
        installed = _INSTALLED.get(module)
        if installed is None or not installed.in_place():
            installed = _INSTALLED[module] = _Installed(module, path)
        return installed.put_in()


def run_hooks(module_input: Tensor, module_output: Tensor, path: str) -> Tensor:
    """What the hooks of the call that runs now make of what the module at `path` gave."""
    run = _run_hooks_compiled if torch.compiler.is_compiling() else _run_hooks
    result: Tensor = run(module_input, module_output, path)
    return result


@contextmanager
def acting(hooks: Sequence[tuple[str, Hook]]) -> Iterator[None]:
    """Let hooks act where `run_hooks` is called, in order, after those of an outer call; nothing is put in there."""
    merged = dict(_HOOKS.get())
    for path, hook in hooks:
        merged[path] = (*merged.get(path, ()), hook)
    token = _HOOKS.set(merged)
    try:
        yield
    finally:
        _HOOKS.reset(token)


def _run_hooks(module_input: Tensor, module_output: Tensor, path: str) -> Tensor:
    for hook in _HOOKS.get().get(path, ()):
        module_output = hook(module_input, module_output)
    return module_output


def _run_hooks_into_copy(module_input: Tensor, module_output: Tensor, path: str) -> Tensor:
    # An operation must not return what it was given, and has to keep the memory layout that it announces.
    return torch.empty_like(module_output).copy_(_run_hooks(module_input, module_output, path))


# CUDA graphs would repeat the kernels of the first call instead of asking what this call's are.
_TAGS: dict[str, Any] = {"tags": (torch.Tag.cudagraph_unsafe,)} if hasattr(torch.Tag, "cudagraph_unsafe") else {}
_run_hooks_compiled = torch.library.custom_op("saeuron::hook", _run_hooks_into_copy, mutates_args=(), **_TAGS)
_run_hooks_compiled.register_fake(lambda module_input, module_output, path: torch.empty_like(module_output))
