"""Report of a run as an HTML page: view model, annotated graph, and rendering."""
