const svgNamespace = "http://www.w3.org/2000/svg";
const height = 60;

function createShape(name, attributes) {
  const shape = document.createElementNS(svgNamespace, name);
  for (const [attribute, value] of Object.entries(attributes)) shape.setAttribute(attribute, String(value));
  return shape;
}

/** Runs of unknown values, as pairs of the first index and the index after the last one. */
export function gapsOf(values, tolerated = 0) {
  const gaps = [];
  let first;
  for (const [index, value] of [...values, 0].entries()) {
    if (value === null) first ??= index;
    else if (first !== undefined) {
      if (index - first > tolerated) gaps.push([first, index]);
      first = undefined;
    }
  }
  return gaps;
}

/** Draws values as columns, and gaps as a pattern of their own. `stacked` values stand on top of the others. */
export function drawChart(svg, values, { gaps = [], max = 1, label, stacked = [] }) {
  const signature = JSON.stringify([values, gaps, stacked]);
  if (svg.dataset.drawn === signature) return;
  svg.dataset.drawn = signature;
  svg.setAttribute("viewBox", `0 0 ${values.length} ${height}`);
  const heightOf = (value) => (value > 0 ? Math.max(1.5, (value / max) * (height - 2)) : 0);
  const columns = (list, baseOf) =>
    list
      .map((value, index) => [index, heightOf(value ?? 0), baseOf(index)])
      .filter(([, size]) => size > 0)
      .map(
        ([index, size, base]) => `M${index} ${(height - base).toFixed(1)}v${(-size).toFixed(1)}h1v${size.toFixed(1)}z`,
      )
      .join("");
  svg.replaceChildren(
    ...gaps.map(([first, end]) => createShape("rect", { class: "gap", x: first, y: 0, width: end - first, height })),
    createShape("path", { class: "column", d: columns(values, () => 0) }),
    createShape("path", { class: "column bad-column", d: columns(stacked, (index) => heightOf(values[index] ?? 0)) }),
    createShape("path", { class: "base", d: `M0 ${height - 0.5}h${values.length}` }),
  );
  svg.setAttribute("aria-label", label);
}
