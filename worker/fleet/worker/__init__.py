"""A worker: claims runs from a control plane, runs them in the sandbox, and reports them."""
