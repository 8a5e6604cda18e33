"""The demo: the paper's autoencoder trained with KFRA beside Adam."""
