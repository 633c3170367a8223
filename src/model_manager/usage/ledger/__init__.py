"""Every send written down once, and the sums of it; knows no price and no call."""
