"""The engine: QuickJS as a WebAssembly module, its images, and instances that start from them."""
