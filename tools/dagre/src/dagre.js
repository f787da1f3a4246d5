// One call: sizes and pairs of indexes in, places out, both as JSON.
import dagre from "@dagrejs/dagre";

// A bare QuickJS has none, and dagre clones only arrays of names.
globalThis.structuredClone ??= (value) => JSON.parse(JSON.stringify(value));

globalThis.__layout = (text) => {
  const { nodes, edges, options } = JSON.parse(text);
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph(options);
  nodes.forEach(([width, height], i) => {
    graph.setNode(`n${i}`, { width, height });
  });
  edges.forEach(([source, target, width, height], i) => {
    graph.setEdge(`n${source}`, `n${target}`, { width, height, labelpos: "c" }, `e${i}`);
  });
  dagre.layout(graph);
  const place = ({ x, y }) => [x, y];
  return JSON.stringify({
    nodes: nodes.map((_, i) => place(graph.node(`n${i}`))),
    edges: edges.map(([source, target], i) => {
      const edge = graph.edge(`n${source}`, `n${target}`, `e${i}`);
      return { points: edge.points.map(place), label: "x" in edge ? place(edge) : null };
    }),
  });
};
