"""One default setting, many problems: second-order methods beside tuned first-order ones."""
