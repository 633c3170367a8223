"""What tokens cost: the configuration's price, else the table's, else unknown."""
