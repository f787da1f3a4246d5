// Layered layout of graphs: numbers in, numbers out.
import { Graph, layout } from "@dagrejs/dagre";

// QuickJS has none; labels of nodes and edges are plain numbers.
globalThis.structuredClone ??= (value) => JSON.parse(JSON.stringify(value));

globalThis.layOut = (text) => {
  const { nodes, edges, options } = JSON.parse(text);
  const graph = new Graph({ multigraph: true }).setGraph(options).setDefaultEdgeLabel(() => ({}));
  nodes.forEach(([width, height], id) => graph.setNode(String(id), { width, height }));
  edges.forEach(([from, to, width, height], id) =>
    graph.setEdge(String(from), String(to), { width, height, labelpos: "c" }, String(id)));
  layout(graph);
  return JSON.stringify({
    size: [graph.graph().width ?? 0, graph.graph().height ?? 0],
    nodes: nodes.map((_, id) => { const { x, y } = graph.node(String(id)); return [x, y]; }),
    edges: edges.map(([from, to], id) => {
      const { points, x, y } = graph.edge({ v: String(from), w: String(to), name: String(id) });
      return { points: points.map((point) => [point.x, point.y]), label: [x ?? 0, y ?? 0] };
    }),
  });
};
