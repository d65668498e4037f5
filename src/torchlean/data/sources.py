"""Published files that `fetch` can bring, by checksum."""

from torchlean.data.fetch import Source

MNIST = Source(
    name="mnist.npz",
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    size=11_490_434,
    licence="CC BY-SA 3.0, Y. LeCun and C. Cortes",
)
"""60,000 and 10,000 images of digits: images(path, "x_train", "y_train") and images(path, "x_test", "y_test")."""
