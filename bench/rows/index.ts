import type { Row } from "../row";
import { burst } from "./burst";
import { drainAgainstBullmq, drainAgainstDurableBullmq, drainAgainstDurableRedis, drainAgainstRedis } from "./drain";
import { groupAgainstCount, groupSize } from "./groups";
import {
  inlineLatencyAgainstBare,
  latencyAgainstBare,
  latencyAgainstPolling,
  latencyOf100Bytes,
  latencyOf10Kilobytes,
  latencyOf1Megabyte,
} from "./latency";
import { fiftyListeners, oneListener, tenListeners } from "./listeners";
import { eightWriters, thirtyTwoWriters } from "./many-writers";
import { costPerWait, heapPerWait, queriesWhileWaiting } from "./open-waits";
import { clientProcessorTime, serverProcessorTime } from "./processor-time";
import { slowLatency, slowWriters, slowWritersWithLanes } from "./slow-commits";
import { startUp } from "./start-up";

/** All rows in the order of the table: those with a target first, then those for information. */
export const rows: readonly Row[] = [
  latencyAgainstBare,
  inlineLatencyAgainstBare,
  drainAgainstRedis,
  drainAgainstDurableRedis,
  drainAgainstBullmq,
  burst,
  heapPerWait,
  queriesWhileWaiting,
  costPerWait,
  groupSize,
  groupAgainstCount,
  slowWriters,
  fiftyListeners,
  latencyAgainstPolling,
  latencyOf100Bytes,
  latencyOf10Kilobytes,
  latencyOf1Megabyte,
  drainAgainstDurableBullmq,
  oneListener,
  tenListeners,
  eightWriters,
  thirtyTwoWriters,
  slowLatency,
  slowWritersWithLanes,
  startUp,
  clientProcessorTime,
  serverProcessorTime,
];
