// Runs in the page of the front end: makes a graph of a description (`description.plan`) with nodes that the front end
// made, and exports it as the front end does.

const GAP = 40; // between nodes: Nodes 2.0 draws them taller
const PADDING = 20; // of a group, and between groups
const [FONT, GROUP_TITLE] = [22, 40];
const GRID = 10;

window.buildWorkflow = async ({ id, columns }) => {
  const { app } = window;
  app.graph.clear();
  app.graph.id = id;
  const nodes = new Map();
  for (const { nodes: described } of columns) {
    for (const each of described) nodes.set(each.key, addNode(app.graph, each));
  }
  for (const each of columns.flatMap((column) => column.nodes)) connect(nodes, each);
  layOut(app.graph, columns, nodes);
  const { workflow, output } = await app.graphToPrompt();
  delete workflow.extra.ds; // the view: without it, the front end shows the whole graph
  for (const node of workflow.nodes) {
    if (!node.widgets_values?.length) delete node.widgets_values; // an empty list comes and goes with the page's state
  }
  return { workflow, prompt: output };
};

function addNode(graph, { key, id, type, title, values, links, properties }) {
  const node = window.LiteGraph.createNode(type);
  if (!node) throw new Error(`${key}: there is no node ${type}.`);
  node.id = id;
  graph.add(node);
  if (title) node.title = title;
  Object.assign(node.properties, properties);
  for (const [name, value] of Object.entries(values)) {
    const widget = node.widgets?.find((each) => each.name === name);
    if (!widget) throw new Error(`${key} (${type}) has no widget ${name}.`);
    widget.value = value;
    widget.callback?.(value);
  }
  for (const widget of node.widgets ?? []) {
    if (widget.name === "control_after_generate") widget.value = "fixed";
    // The first of a list of files depends on the machine.
    const declared = node.constructor.nodeData?.inputs?.[widget.name];
    const given = widget.name in values || widget.name in links;
    if (declared && declared.default === undefined && !given) {
      throw new Error(`${key} (${type}): say which ${widget.name}, it has no default.`);
    }
  }
  return node;
}

function connect(nodes, { key, type, links }) {
  for (const [name, [from, output]] of Object.entries(links)) {
    const origin = nodes.get(from);
    const [start, end] = [origin?.findOutputSlot(output) ?? -1, nodes.get(key).findInputSlot(name)];
    if (start < 0 || end < 0 || !origin.connect(start, nodes.get(key), end)) {
      throw new Error(`${from}.${output} can't be connected to ${name} of ${key} (${type}).`);
    }
  }
}

// Columns from left to right, each in a group.
function layOut(graph, columns, nodes) {
  const { LGraphGroup, NODE_TITLE_HEIGHT: above } = window.LiteGraph;
  let left = 0;
  for (const { title, width, nodes: described } of columns) {
    const group = new LGraphGroup(title);
    group.font_size = FONT;
    let top = GROUP_TITLE;
    for (const { key, room } of described) {
      const node = nodes.get(key);
      node.setSize([width, Math.ceil((node.computeSize()[1] + room) / GRID) * GRID]);
      node.pos = [left + PADDING, top + above];
      top += above + node.size[1] + GAP;
    }
    graph.add(group);
    group.pos = [left, 0];
    group.size = [width + 2 * PADDING, top - GAP + PADDING];
    left += group.size[0] + PADDING;
  }
}
