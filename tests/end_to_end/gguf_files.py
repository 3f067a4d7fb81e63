# SPDX-License-Identifier: MIT
"""GGUF files taken apart, changed and put together again, without the package gguf: a header, keys
with their values as bytes, tensors. And cut into parts as llama.cpp's gguf-split does it."""

import dataclasses
import pathlib
import random
import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
U16, I32 = 2, 5

# Weights and bytes of a block, by the number of the type.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
          9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176),
          14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50),
          20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
          26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66),
          39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18)}
ALIGNMENT = 32


@dataclasses.dataclass
class Tensor:
    name: str
    shape: tuple  # innermost first, as in the file
    type: int
    data: bytes

    def weights(self):
        count = 1
        for size in self.shape:
            count *= size
        return count


def bytes_of(type, weights):
    block, size = BLOCKS[type]
    return weights // block * size


def padded(data):
    return data + bytes(-len(data) % ALIGNMENT)


def string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


class Gguf:
    def __init__(self, path=None):
        self.keys = {}  # name: (type, value as it stands in the file)
        self.tensors = []
        if path:
            self._read(pathlib.Path(path).read_bytes())

    def _read(self, content):
        at = 24
        tensors, keys = struct.unpack_from("<QQ", content, 8)

        def take(form):
            nonlocal at
            value, = struct.unpack_from("<" + form, content, at)
            at += struct.calcsize("<" + form)
            return value

        def text():
            nonlocal at
            length = take("Q")
            at += length
            return content[at - length:at].decode()

        def skip(type):
            nonlocal at
            if type == STRING:
                text()
            elif type == ARRAY:
                element, count = take("I"), take("Q")
                if element == STRING:
                    for _ in range(count):
                        text()
                else:
                    at += count * SIZES[element]
            else:
                at += SIZES[type]

        for _ in range(keys):
            name, type = text(), take("I")
            start = at
            skip(type)
            self.keys[name] = type, content[start:at]
        entries = []
        for _ in range(tensors):
            name = text()
            shape = tuple(take("Q") for _ in range(take("I")))
            entries.append((Tensor(name, shape, take("I"), b""), take("Q")))
        data = at + -at % ALIGNMENT
        for tensor, offset in entries:
            size = bytes_of(tensor.type, tensor.weights())
            tensor.data = content[data + offset:data + offset + size]
            self.tensors.append(tensor)

    def __getitem__(self, name):
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def set(self, key, type, value):
        self.keys[key] = type, value

    def content(self):
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.keys))
        for key, (type, value) in self.keys.items():
            head += string(key) + struct.pack("<I", type) + value
        data = b""
        for tensor in self.tensors:
            head += string(tensor.name) + struct.pack("<I", len(tensor.shape))
            head += struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape)
            head += struct.pack("<IQ", tensor.type, len(data))
            data += padded(tensor.data)
        return padded(head) + data

    def write(self, path):
        path.write_bytes(self.content())
        return path


def parts_of(whole, *, most_tensors=None, most_bytes=None, none_in_first=False):
    """The parts that gguf-split makes: all keys in the first; split.no, split.count (u16) and
    split.tensors.count (i32, of all) in each; tensors in their order, a new part after so many
    tensors (--split-max-tensors) or before one that would make it too large (--split-max-size),
    the first without any if --no-tensor-first-split."""
    parts = [Gguf()]
    parts[0].keys = dict(whole.keys)
    if none_in_first:
        parts.append(Gguf())
    size = 0
    for i, tensor in enumerate(whole.tensors):
        bytes = len(padded(tensor.data))
        if (i > 0 and i % most_tensors == 0) if most_tensors else size + bytes > most_bytes:
            parts.append(Gguf())
            size = 0
        size += bytes
        parts[-1].tensors.append(tensor)
    for no, part in enumerate(parts):
        part.set("split.no", U16, struct.pack("<H", no))
        part.set("split.count", U16, struct.pack("<H", len(parts)))
        part.set("split.tensors.count", I32, struct.pack("<i", len(whole.tensors)))
    return parts


def part_name(start, no, count):
    return f"{start}-{no + 1:05}-of-{count:05}.gguf"


def write_parts(parts, folder, start):
    return [part.write(folder / part_name(start, no, len(parts))) for no, part in enumerate(parts)]


def wide_llama(path, type, width):
    """The tiny model at `path`, whose rows have 256 weights, with a feed-forward of so many columns and all
    matrices of one type (Q4_K or Q8_0): of three blocks in turn, so that it takes little room compressed."""
    gguf = Gguf(path)
    gguf.set("llama.feed_forward_length", 4, struct.pack("<I", width))
    choose = random.Random(width)
    head = struct.pack("<e", 0.002) * (2 if type == 12 else 1)
    blocks = b"".join(head + bytes(choose.choices(range(256), k=BLOCKS[type][1] - len(head))) for _ in range(3))
    for tensor in gguf.tensors:
        if len(tensor.shape) == 2:
            if "ffn_down" in tensor.name:
                tensor.shape = width, tensor.shape[1]
            elif "ffn_" in tensor.name:
                tensor.shape = tensor.shape[0], width
            size = bytes_of(type, tensor.weights())
            tensor.type, tensor.data = type, (blocks * (size // len(blocks) + 1))[:size]
    return gguf
