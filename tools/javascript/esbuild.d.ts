// What our build scripts use of esbuild, which each of them installs beside itself.
declare module "esbuild" {
  export function build(options: Record<string, unknown>): Promise<{ metafile: { inputs: Record<string, unknown> } }>;
}
