"""The networks, a module or several for each section of the catalogue."""
