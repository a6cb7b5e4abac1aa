"""lenet: two convolutions with pooling, three dense layers; LeNet-5 with what is usual today inside.

    images [..., height, width, channels]
    conv 5x5 to 6 channels, pool 2x2, f;  conv 5x5 to 16, pool 2x2, f;  dense 120, f;  dense 84, f;  dense classes

As in the paper f stands behind the pooling; in front of it a rising f and max pooling give the same numbers, but
four times as many are kept. The second convolution sees all 6 channels, the last layer is linear: 61,706 parameters
for 10 classes of images [28, 28, 1] as of [32, 32, 1] with padding="VALID".
LeCun et al., *Gradient-based learning applied to document recognition* (1998), section II.B.
"""

from __future__ import annotations

from collections.abc import Callable

from ..annotations import PositiveInt
from ..arguments import checks_arguments
from ..combine import serial
from ..layer import Layer
from ..layers import conv, dense, flatten, max_pool, relu


@checks_arguments
def lenet(
    classes: PositiveInt,
    *,
    padding: str | tuple[str, str] = ("SAME", "VALID"),
    activation: Callable[[], Layer] = relu,
    pool: Callable[..., Layer] = max_pool,
) -> Layer:
    """Images [..., height, width, channels] to logits [..., classes].

    padding: of the two convolutions. The default is for images of 28 x 28; "VALID" for 32 x 32, as in the paper;
    "SAME" for small ones, 8 x 8 for instance. The paper's activation is `pn.tanh`, its pooling `pn.avg_pool`.
    Parameters: conv1, conv2, dense1, dense2, dense3. Raises if the windows do not fit into the image.
    """
    first, second = (padding, padding) if isinstance(padding, str) else padding
    return serial(
        conv1=conv(6, (5, 5), padding=first),
        pool1=pool((2, 2), strides=2),
        act1=activation(),
        conv2=conv(16, (5, 5), padding=second),
        pool2=pool((2, 2), strides=2),
        act2=activation(),
        flat=flatten(-3),
        dense1=dense(120),
        act3=activation(),
        dense2=dense(84),
        act4=activation(),
        dense3=dense(classes),
    ).replace(name="lenet")
