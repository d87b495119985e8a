"""Read ``.safetensors`` files: a JSON table of names, types, shapes and places, then the numbers; no code in it.

Format: https://huggingface.co/docs/safetensors (8 bytes little-endian length of the table, the table, the data).
"""
import json
import math
from pathlib import Path

import torch

__all__ = ['looks_like_safetensors', 'read_safetensors']

_DTYPES = {
    'F64': torch.float64, 'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16,
    'I64': torch.int64, 'I32': torch.int32, 'I16': torch.int16, 'I8': torch.int8, 'U8': torch.uint8, 'BOOL': torch.bool,
    'F8_E4M3': torch.float8_e4m3fn, 'F8_E5M2': torch.float8_e5m2,
}  # yapf: disable
_MAX_TABLE = 100 << 20  # bytes; the format's own limit is 100 MB


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Tell from the first 9 bytes and the size of a file whether it is of this format."""
    return len(head) >= 9 and head[8:9] == b'{' and 2 <= int.from_bytes(head[:8], 'little') <= _MAX_TABLE and size > 8


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors onto the CPU.

    Raises:
        EOFError: If the file ends before its data does.
        ValueError: If the table does not describe the data.
    """
    size = path.stat().st_size
    tensors = {}
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        if 8 + length > size:
            raise EOFError('the file ends inside its table of tensors')
        table = json.loads(file.read(length))
        for name, entry in table.items():
            if name == '__metadata__':
                continue
            if entry['dtype'] not in _DTYPES:
                raise ValueError(f'{name} has the unknown type {entry["dtype"]!r}')
            dtype, shape = _DTYPES[entry['dtype']], entry['shape']
            begin, end = entry['data_offsets']
            if 8 + length + end > size:
                raise EOFError(f'the file ends before the data of {name}')
            if begin < 0 or end - begin != math.prod(shape) * dtype.itemsize:
                raise ValueError(f'{name}: {end - begin} bytes for the shape {tuple(shape)}')
            file.seek(8 + length + begin)
            raw = bytearray(file.read(end - begin))
            tensors[name] = torch.frombuffer(
                raw, dtype=dtype).reshape(shape) if raw else torch.empty(
                    shape, dtype=dtype)
    return tensors
