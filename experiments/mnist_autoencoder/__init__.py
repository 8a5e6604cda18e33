"""KFRA against Adam at its best rate, MNIST autoencoder, a fixed number of updates."""
