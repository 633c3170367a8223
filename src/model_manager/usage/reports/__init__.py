"""What was used, for people: sums in, tables, HTML, plots and forecasts out."""
