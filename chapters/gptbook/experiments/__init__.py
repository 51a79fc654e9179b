"""Long experiments, each a command that writes a file of chapters/results/ for the chapters."""
