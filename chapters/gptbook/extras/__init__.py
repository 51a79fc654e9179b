"""What the appendices build beside the path of the chapters: one module for each appendix."""
