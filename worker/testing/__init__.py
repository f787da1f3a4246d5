"""What helps the owner of a workflow to trust it, before anything happens."""
