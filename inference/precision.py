"""Where half the digits are enough: bfloat16 where the hardware computes in it."""

from __future__ import annotations

import torch


def has_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 arithmetic is the hardware's own: AVX-512 BF16 or AMX processors, and GPUs that say so."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
