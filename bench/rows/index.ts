import type { Row } from "../row";
import { chunkRows } from "./chunks";
import { fleetRows } from "./fleets";
import { groupRows } from "./groups";
import { latencyRows } from "./latency";
import { openWaitRows } from "./open-waits";
import { slowCommitRows } from "./slow-commits";
import { throughputRows } from "./throughput";

const all = [
  ...latencyRows,
  ...throughputRows,
  ...openWaitRows,
  ...groupRows,
  ...chunkRows,
  ...fleetRows,
  ...slowCommitRows,
];

/** All rows in the order of the table: those with a target first, then those for information. */
export const rows: readonly Row[] = [
  ...all.filter(({ target }) => target !== undefined),
  ...all.filter(({ target }) => target === undefined),
];
