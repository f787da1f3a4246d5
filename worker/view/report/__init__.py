"""A run as a page to look at: what the events tell, what it means on the graph, and the HTML."""
