"""Networks only: nothing here knows of data sets, losses, training or methods."""
