"""The paper's autoencoder on MNIST: the losses that are stated, by one command each."""
