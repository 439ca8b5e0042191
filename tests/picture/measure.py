"""The share of 200 picture codes that ready-made OCR reads: each model, on each preparation, with each way to decode.

Arguments: the URL of a service, and the port of the Redis where it keeps what its pictures say.
"""

import io
import os
import socket
import sys
import urllib.request
import uuid
from multiprocessing import Pool
from pathlib import Path

import cv2
import ddddocr
import numpy as np
import onnxruntime
from PIL import Image

PICTURES = 200

# In per cent. The true rates are near 3 and 30, so that chance alone does not take a run of 200 pictures to these.
BOUND_AS_IT_STANDS = 10
BOUND_OF_THE_BEST = 45

ALPHABET = "acehjmrtux3"
LENGTH = 4

MODELS = {"plain": "common_old.onnx", "beta": "common.onnx"}
DECODINGS = ("as read", "set_ranges", "letters", "four")


def square(size):
    return np.ones((size, size), np.uint8)


def disc(size):
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def threshold(level):
    return lambda grey: cv2.threshold(grey, level, 255, cv2.THRESH_BINARY)[1]


def otsu(grey):
    return cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]


def adaptive(method, size):
    return lambda grey: cv2.adaptiveThreshold(grey, 255, method, cv2.THRESH_BINARY, size, 5)


def blurred(sigma):
    return lambda grey: cv2.GaussianBlur(grey, (0, 0), sigma)


def morphed(operation, kernel):
    return lambda grey: cv2.morphologyEx(grey, operation, kernel)


def sobel(grey):
    """Dark edges on white."""
    across, down = (cv2.Sobel(grey, cv2.CV_32F, x, 1 - x) for x in (1, 0))
    edges = np.hypot(across, down)
    return 255 - (edges * (255 / max(edges.max(), 1))).astype(np.uint8)


def gradient(kernel):
    """Dark edges on white, as wide as the kernel."""
    return lambda grey: 255 - cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, kernel)


def framed(grey):
    return cv2.copyMakeBorder(grey, 10, 10, 10, 10, cv2.BORDER_REPLICATE)


def stretched(across, down):
    return lambda grey: cv2.resize(grey, None, fx=across, fy=down, interpolation=cv2.INTER_CUBIC)


PREPARATIONS = {
    "unchanged": lambda grey: grey,
    "inverted": lambda grey: 255 - grey,
    "inverted, blur 1": lambda grey: 255 - blurred(1)(grey),
    "threshold 80": threshold(80),
    "threshold 140": threshold(140),
    "threshold 200": threshold(200),
    "Otsu, inverted": lambda grey: 255 - otsu(grey),
    "adaptive mean 15": adaptive(cv2.ADAPTIVE_THRESH_MEAN_C, 15),
    "adaptive Gaussian 31": adaptive(cv2.ADAPTIVE_THRESH_GAUSSIAN_C, 31),
    "median 5": lambda grey: cv2.medianBlur(grey, 5),
    "blur 1": blurred(1),
    "blur 2": blurred(2),
    "opened 3": morphed(cv2.MORPH_OPEN, square(3)),
    "eroded 3": morphed(cv2.MORPH_ERODE, square(3)),
    "Sobel": sobel,
    "Sobel, 3 wide": lambda grey: cv2.erode(sobel(grey), square(3)),
    "gradient 3, framed": lambda grey: framed(gradient(square(3))(grey)),
    "gradient 5": gradient(disc(5)),
    "gradient 7": gradient(disc(7)),
    "twice as large": stretched(2, 2),
    "half as wide again": stretched(1.5, 1),
}


def fetch(url, redis):
    """A picture and its text."""
    name = uuid.uuid4()
    with urllib.request.urlopen(f"{url}/app/v1_0/image_codes/{name}", timeout=10) as answer:
        picture = answer.read()
    redis.write(b"GET phonepass:image_code:%b\r\n" % str(name).encode())
    redis.flush()
    size = redis.readline()
    assert size == b"$%d\r\n" % LENGTH, f"Redis said {size}"
    return picture, redis.readline().decode().strip()


class Reader:
    """A model of ddddocr, on one thread: each process has its own."""

    def __init__(self, file):
        self.ocr = ddddocr.DdddOcr(beta=file == MODELS["beta"], show_ad=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = Path(ddddocr.__file__).with_name(file)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ocr.ocr_engine.session = self.session
        self.charset = self.ocr.ocr_engine.get_charset()
        # A letter may be upper or lower case.
        self.classes = [[at for at, known in enumerate(self.charset) if known.lower() == letter] for letter in ALPHABET]

    def as_it_stands(self, picture):
        return self.ocr.classification(picture).lower()

    def decoded(self, grey):
        """What a prepared picture says, in the order of DECODINGS."""
        image = self.ocr.ocr_engine._preprocess_image(Image.fromarray(grey), False)
        logits = self.session.run(None, {self.session.get_inputs()[0].name: image})[0][:, 0]
        read = "".join(self.charset[at] for at in collapsed(logits.argmax(1))).lower()
        # Which of two cases it is makes no difference, so their chances add up.
        letters = np.stack([logits[:, 0], *(np.logaddexp.reduce(logits[:, at], 1) for at in self.classes)], 1)
        return (
            read,
            "".join(letter for letter in read if letter in ALPHABET),
            "".join(ALPHABET[at - 1] for at in collapsed(letters.argmax(1))),
            likeliest(letters),
        )


def collapsed(classes):
    """CTC: what is repeated counts once, and class 0 is none."""
    return [at for at, before in zip(classes, [0, *classes[:-1]]) if at not in (0, before)]


def prefixes():
    """Every text of the alphabet up to the full length, by its last letter and the text before that."""
    last, before, shorter = [-1], [0], [0]
    for _ in range(LENGTH):
        first = len(last)
        for text in shorter:
            last += range(len(ALPHABET))
            before += [text] * len(ALPHABET)
        shorter = range(first, len(last))
    last, before = np.array(last), np.array(before)
    return last, before, last[before] != last, shorter[0]


LAST, BEFORE, CHANGES, FULL = prefixes()


def likeliest(logits):
    """The likeliest of all texts of four letters, which is what a beam search without end finds."""
    chances = np.exp(logits - logits.max(1, keepdims=True))
    blank, letter = np.zeros(len(LAST)), np.zeros(len(LAST))  # by what the text ended with
    blank[0] = 1
    for chance in chances:
        begun = blank[BEFORE] + letter[BEFORE] * CHANGES
        begun[0] = 0
        blank, letter = (blank + letter) * chance[0], (letter + begun) * chance[1 + LAST]
        scale = max(blank.max(), letter.max())
        blank, letter = blank / scale, letter / scale
    at = FULL + int(np.argmax((blank + letter)[FULL:]))
    text = ""
    while at:
        text, at = ALPHABET[LAST[at]] + text, BEFORE[at]
    return text


def load():
    global readers
    cv2.setNumThreads(1)
    readers = [Reader(file) for file in MODELS.values()]


def right(sample):
    """Which readings of a picture are right: first as it stands, then by model, preparation and decoding."""
    picture, text = sample
    grey = np.array(Image.open(io.BytesIO(picture)).convert("L"))
    prepared = [np.ascontiguousarray(prepare(grey)) for prepare in PREPARATIONS.values()]
    return (
        [reader.as_it_stands(picture) == text for reader in readers],
        [[[said == text for said in reader.decoded(grey)] for grey in prepared] for reader in readers],
    )


def main():
    url, redis_port = sys.argv[1:]
    with socket.create_connection(("127.0.0.1", int(redis_port)), timeout=10) as connection:
        with connection.makefile("rwb") as redis:
            samples = [fetch(url, redis) for _ in range(PICTURES)]

    with Pool(os.cpu_count(), load) as pool:
        results = pool.map(right, samples, chunksize=4)
    stands, decoded = (100 * np.mean(part, axis=0) for part in zip(*results))

    print(f"Per cent of {PICTURES} pictures that ddddocr reads:")
    print(f"{'model':6} {'prepared':22}" + "".join(f"{decoding:>12}" for decoding in DECODINGS))
    for model, rows in zip(MODELS, decoded):
        for preparation, shares in zip(PREPARATIONS, rows):
            print(f"{model:6} {preparation:22}" + "".join(f"{share:12.1f}" for share in shares))
    for model, share in zip(MODELS, stands):
        print(f"{model} model as it stands: {share:.1f} %, at most {BOUND_AS_IT_STANDS}")
    model, preparation, decoding = np.unravel_index(decoded.argmax(), decoded.shape)
    best = f"{list(MODELS)[model]}, {list(PREPARATIONS)[preparation]}, {DECODINGS[decoding]}"
    print(f"best ({best}): {decoded.max():.1f} %, at most {BOUND_OF_THE_BEST}")
    sys.exit(int(stands.max() > BOUND_AS_IT_STANDS or decoded.max() > BOUND_OF_THE_BEST))


if __name__ == "__main__":
    main()
