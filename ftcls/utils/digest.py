"""One digest for texts, arrays and tensors."""
import hashlib
import re

import numpy as np
import torch

__all__ = ['digest']


def digest(*parts: object) -> str:
    """Return the SHA-256 of texts, arrays and tensors, in 32 hexadecimal digits."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        if not isinstance(part, np.ndarray):
            part = re.sub(r' at 0x\w+', '', str(part)).encode(errors='surrogateescape')
        found.update(memoryview(part).tobytes())
    return found.hexdigest()[:32]
