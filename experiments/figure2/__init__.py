"""Figure 2: KFRA and KFAC beside tuned first-order methods on three autoencoders."""
