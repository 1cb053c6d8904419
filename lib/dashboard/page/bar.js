import { create, formatNumber } from "./dom.js";

/** A bar of the members of a group: completed ones, then failed ones in red. */
export function createBar(group) {
  const { groupId, total, completed, failed } = group;
  const finished = completed + failed;
  const bar = create("div", {
    class: "bar",
    role: "progressbar",
    "aria-label": groupId,
    "aria-valuetext": `${sizeOf(group)}${failed > 0 ? `, ${formatNumber(failed)} failed` : ""}`,
    "aria-valuemin": "0",
    ...(total === null ? {} : { "aria-valuemax": String(total), "aria-valuenow": String(Math.min(finished, total)) }),
  });
  const size = Math.max(total ?? finished, 1);
  const parts =
    total === 0
      ? [["part", 1, 1]]
      : [
          ["part", completed, size],
          ["part bad-part", failed, size],
        ];
  for (const [name, count, of] of parts) {
    const part = create("span", { class: name });
    // A failure among a million members is still seen.
    part.style.width = count === 0 ? "0" : `max(2px, ${(100 * count) / of}%)`;
    bar.append(part);
  }
  return bar;
}

export const sizeOf = ({ total, completed, failed }) =>
  total === null
    ? `${formatNumber(completed + failed)}, size unknown`
    : `${formatNumber(completed + failed)} of ${formatNumber(total)}`;

/** The number of failed members, in red if there are any. */
export const failedOf = ({ failed }) => create("span", failed > 0 ? { class: "bad" } : {}, formatNumber(failed));
